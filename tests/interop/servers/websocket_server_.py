"""websocket-server."""

import json
import signal
import sys
import threading

from websocket_server import WebsocketServer


def say(**what):
    print(json.dumps(what), flush=True)


def echo(client, server, message):
    if message == "/close":
        client["handler"].send_close(4001, b"over")
    else:
        server.send_message(client, message)


port, cert, key = [*sys.argv[1:], None, None][:3]
server = WebsocketServer(port=int(port), cert=cert, key=key)
server.set_fn_new_client(lambda client, server: say(open=None))
server.set_fn_message_received(echo)
leave = threading.Thread(target=server.shutdown_gracefully, args=(1001, b""))
signal.signal(signal.SIGTERM, lambda *_: leave.start())
server.run_forever()

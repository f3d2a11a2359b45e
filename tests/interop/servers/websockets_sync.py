"""websockets, in threads."""

import json
import signal
import ssl
import sys
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve


def say(**what):
    print(json.dumps(what), flush=True)


def talk(socket):
    say(open=socket.subprotocol)
    try:
        for message in socket:
            if message == "/fragments":
                socket.send(["one, ", "two, ", "three"])
            elif message == "/ping":
                socket.ping().wait()
                socket.send("pong")
            elif message == "/close":
                socket.close(4001, "over")
            else:
                socket.send(message)
    except ConnectionClosed:
        pass
    say(closed=socket.close_code, reason=socket.close_reason)


context = None
if sys.argv[2:]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*sys.argv[2:])
with serve(talk, "127.0.0.1", int(sys.argv[1]), ssl=context, subprotocols=["interop"]) as server:
    stopping = threading.Thread(target=server.shutdown)
    signal.signal(signal.SIGTERM, lambda *_: stopping.start())
    server.serve_forever()

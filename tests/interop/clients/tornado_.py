"""tornado."""

import asyncio
import json
import ssl
import sys

from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

trust = ssl.create_default_context(cafile=sys.argv[1])


def say(**what):
    print(json.dumps(what), flush=True)


async def talk(url):
    pongs = asyncio.Queue()

    class Connection(WebSocketClientConnection):
        def on_pong(self, data):
            pongs.put_nowait(data)

    request = HTTPRequest(url, ssl_options=trust)
    offer = {"subprotocols": ["other", "interop"], "compression_options": {}}
    socket = await websocket_connect(request, **offer)
    socket.__class__ = Connection  # websocket_connect has no callback for pongs
    say(open=socket.selected_subprotocol)
    while True:
        message = await socket.read_message()
        if message is None:
            break
        if message == "/ping":
            socket.ping()
            await pongs.get()
            await socket.write_message("pong")
        elif message == "/close":
            socket.close(4001, "over")
        else:
            await socket.write_message(message, binary=isinstance(message, bytes))
    say(closed=socket.close_code, reason=socket.close_reason)


for line in sys.stdin:
    asyncio.run(talk(line.strip()))

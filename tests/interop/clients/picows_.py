"""picows."""

import asyncio
import json
import ssl
import sys

from picows import WSListener, WSMsgType, ws_connect

trust = ssl.create_default_context(cafile=sys.argv[1])


def say(**what):
    print(json.dumps(what), flush=True)


class Echo(WSListener):
    closed = (1006, "")

    def on_ws_connected(self, transport):
        chosen = transport.response.headers.get("Sec-WebSocket-Protocol")
        self.parts = b""
        say(open=chosen)

    def on_ws_frame(self, transport, frame):
        kind = frame.msg_type
        if kind == WSMsgType.PONG:
            transport.send(WSMsgType.TEXT, b"pong")
        elif kind == WSMsgType.CLOSE:
            self.closed = (int(frame.get_close_code()), (frame.get_close_message() or b"").decode())
            transport.send_close(frame.get_close_code(), None)
            transport.disconnect()
        else:
            if kind != WSMsgType.CONTINUATION:
                self.kind = kind
            self.parts += frame.get_payload_as_bytes()
            if frame.fin:
                data, self.parts = self.parts, b""
                self.on_message(transport, data)

    def on_message(self, transport, data):
        if data == b"/fragments":
            transport.send(WSMsgType.TEXT, b"one, ", fin=False)
            transport.send(WSMsgType.CONTINUATION, b"two, ", fin=False)
            transport.send(WSMsgType.CONTINUATION, b"three")
        elif data == b"/ping":
            transport.send_ping()
        elif data == b"/close":
            transport.send_close(4001, b"over")
        else:
            transport.send(self.kind, data)


async def talk(url):
    context = trust if url.startswith("wss") else None
    headers = {"Sec-WebSocket-Protocol": "other, interop"}
    transport, echo = await ws_connect(Echo, url, ssl_context=context, extra_headers=headers)
    await transport.wait_disconnected()
    say(closed=echo.closed[0], reason=echo.closed[1])


for line in sys.stdin:
    asyncio.run(talk(line.strip()))

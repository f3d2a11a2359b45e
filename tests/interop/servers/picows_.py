"""picows."""

import asyncio
import json
import signal
import ssl
import sys

from picows import (
    WSCloseCode,
    WSListener,
    WSMsgType,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

transports = set()


def say(**what):
    print(json.dumps(what), flush=True)


class Echo(WSListener):
    closed = (1006, "")

    def on_ws_connected(self, transport):
        self.parts = b""
        transports.add(transport)
        say(open=transport.response.headers.get("Sec-WebSocket-Protocol"))

    def on_ws_frame(self, transport, frame):
        kind = frame.msg_type
        if kind == WSMsgType.PONG:
            transport.send(WSMsgType.TEXT, b"pong")
        elif kind == WSMsgType.CLOSE:
            reason = (frame.get_close_message() or b"").decode()
            self.closed = (int(frame.get_close_code()), reason)
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

    def on_ws_disconnected(self, transport):
        transports.discard(transport)
        say(closed=self.closed[0], reason=self.closed[1])


def choose(request):
    headers = {"Sec-WebSocket-Protocol": "interop"}
    answer = WSUpgradeResponse.create_101_response(extra_headers=headers)
    return WSUpgradeResponseWithListener(answer, Echo())


async def main(port, *pair):
    context = None
    if pair:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*pair)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await ws_create_server(choose, "127.0.0.1", int(port), ssl=context)
    await stop.wait()
    for transport in set(transports):
        transport.send_close(WSCloseCode.GOING_AWAY)
    while transports:
        await asyncio.sleep(0.01)


asyncio.run(main(*sys.argv[1:]))

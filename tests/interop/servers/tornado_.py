"""tornado."""

import asyncio
import json
import signal
import ssl
import sys

from tornado.web import Application
from tornado.websocket import WebSocketHandler

sockets = set()


def say(**what):
    print(json.dumps(what), flush=True)


class Echo(WebSocketHandler):
    def get_compression_options(self):
        return {}

    def select_subprotocol(self, subprotocols):
        return "interop" if "interop" in subprotocols else None

    def open(self):
        sockets.add(self)
        say(open=self.selected_subprotocol)

    def on_message(self, message):
        if message == "/ping":
            self.ping()
        elif message == "/close":
            self.close(4001, "over")
        else:
            self.write_message(message, binary=isinstance(message, bytes))

    def on_pong(self, data):
        self.write_message("pong")

    def on_close(self):
        sockets.discard(self)
        say(closed=self.close_code, reason=self.close_reason or "")


async def main(port, *pair):
    context = None
    if pair:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*pair)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    Application([("/", Echo)]).listen(int(port), "127.0.0.1", ssl_options=context)
    await stop.wait()
    for socket in set(sockets):
        socket.close(1001)
    while sockets:
        await asyncio.sleep(0.01)


asyncio.run(main(*sys.argv[1:]))

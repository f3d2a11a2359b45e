"""Tornado."""

from __future__ import annotations

import asyncio
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from bench.peers.options import Options


def serve(options: Options) -> None:
    options.run(_serve(options))


async def _serve(options: Options) -> None:
    clients: set[WebSocketHandler] = set()

    class Handler(WebSocketHandler):
        def get_compression_options(self) -> dict[str, Any] | None:
            return {} if options.compress else None

        def open(self, *args: str, **kwargs: str) -> None:
            clients.add(self)

        def on_close(self) -> None:
            clients.discard(self)

        async def on_message(self, message: str | bytes) -> None:
            reply = await options.reply_async(message)
            for receiver in list(clients) if options.broadcast else (self,):
                try:
                    receiver.write_message(reply, binary=isinstance(reply, bytes))
                except WebSocketClosedError:
                    pass

    app = Application(
        [("/", Handler)],
        websocket_max_message_size=options.max_message_size,
        log_function=lambda handler: None,
    )
    (sock,) = bind_sockets(options.port, "127.0.0.1")
    server = HTTPServer(app, ssl_options=options.context)
    server.add_sockets([sock])
    options.ready(sock.getsockname()[1])
    await asyncio.Event().wait()

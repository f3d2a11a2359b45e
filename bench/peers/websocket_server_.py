"""websocket-server. It has no binary messages; its TLS needs a Python before 3.12."""

from __future__ import annotations

import logging
from typing import Any

from websocket_server import WebsocketServer

from bench.peers.options import Options


def serve(options: Options) -> None:
    server = WebsocketServer("127.0.0.1", options.port, loglevel=logging.CRITICAL)

    def echo(client: dict[str, Any], server: WebsocketServer, message: str) -> None:
        server.send_message(client, options.reply(message))

    def broadcast(client: dict[str, Any], server: WebsocketServer, message: str) -> None:
        server.send_message_to_all(message)

    server.set_fn_message_received(broadcast if options.broadcast else echo)
    options.ready(server.port)
    server.run_forever()

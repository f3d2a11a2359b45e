"""simple-websocket."""

from __future__ import annotations

from simple_websocket import Client

from bench.clients import blocking
from bench.clients.options import Options


def run(options: Options) -> None:
    def connect(url: str) -> blocking.Connection:
        client = Client.connect(url, max_message_size=options.max_message_size)
        return blocking.Connection(client.send, client.receive, client.close)

    blocking.run(options, connect)

"""websocket-client, by its blocking API."""

from __future__ import annotations

from typing import Any

from websocket import create_connection

from bench.clients import blocking
from bench.clients.options import Options


class Ended(Exception):
    """``recv`` gave an empty string, which stands for a close frame, too."""


def run(options: Options) -> None:
    def connect(url: str) -> blocking.Connection:
        client = create_connection(url)

        def send(message: str | bytes) -> None:
            if isinstance(message, str):
                client.send(message)
            else:
                client.send_bytes(message)

        def recv() -> Any:
            message = client.recv()
            if not message and not client.connected:
                raise Ended
            return message

        return blocking.Connection(send, recv, client.close)

    blocking.run(options, connect)

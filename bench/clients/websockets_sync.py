"""websockets, in threads."""

from __future__ import annotations

from typing import Any

from websockets.sync import client as library

from bench.clients import blocking
from bench.clients.options import Options


def run(options: Options) -> None:
    settings: dict[str, Any] = {} if options.ping else {"ping_interval": None}

    def connect(url: str) -> blocking.Connection:
        client = library.connect(
            url,
            compression="deflate" if options.compress else None,
            max_size=options.max_message_size,
            **settings,
        )
        return blocking.Connection(client.send, client.recv, client.close)

    blocking.run(options, connect)

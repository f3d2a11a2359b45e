"""websockets, on asyncio or uvloop, and the compatible API of picows."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from bench.clients import coroutines
from bench.clients.options import Options


def run(options: Options) -> None:
    options.run(_run(options))


async def _run(options: Options) -> None:
    package = "picows.websockets" if options.peer.distribution == "picows" else "websockets"
    library = import_module(f"{package}.asyncio.client")
    settings: dict[str, Any] = {} if options.ping else {"ping_interval": None}

    async def connect(url: str) -> coroutines.Connection:
        client = await library.connect(
            url,
            compression="deflate" if options.compress else None,
            max_size=options.max_message_size,
            **settings,
        )
        return coroutines.Connection(client.send, client.recv, client.close)

    await coroutines.run(options, connect)

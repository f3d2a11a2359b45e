"""websockets, on asyncio or uvloop, and the compatible API of picows."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

from bench.peers.options import Options


def serve(options: Options) -> None:
    options.run(_serve(options))


async def _serve(options: Options) -> None:
    picows = options.peer.distribution == "picows"
    library = import_module("picows.websockets" if picows else "websockets.asyncio.server")

    async def echo(client: Any) -> None:
        async for message in client:
            await client.send(await options.reply_async(message))

    async def broadcast(client: Any) -> None:
        async for message in client:
            library.broadcast(server.connections, message)

    settings: dict[str, Any] = {} if options.ping else {"ping_interval": None}
    server = await library.serve(
        broadcast if options.broadcast else echo,
        "127.0.0.1",
        options.port,
        ssl=options.context,
        compression="deflate" if options.compress else None,
        max_size=options.max_message_size,
        **settings,
    )
    options.ready(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()

"""Tornado."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from tornado.websocket import websocket_connect

from bench.clients import coroutines
from bench.clients.options import Options


class Ended(Exception):
    """``read_message`` gave None."""


def run(options: Options) -> None:
    options.run(_run(options))


async def _run(options: Options) -> None:
    async def connect(url: str) -> coroutines.Connection:
        client = await websocket_connect(
            url,
            max_message_size=options.max_message_size,
            compression_options={} if options.compress else None,
        )

        async def send(message: str | bytes) -> None:
            await client.write_message(message, binary=isinstance(message, bytes))

        ended = False

        async def recv() -> Any:
            nonlocal ended
            message = await client.read_message()
            if message is None:
                ended = True
                raise Ended
            return message

        async def close() -> None:
            client.close()
            with suppress(Ended):
                while not ended:
                    await recv()

        return coroutines.Connection(send, recv, close)

    await coroutines.run(options, connect)

"""aiohttp."""

from __future__ import annotations

from typing import Any

from aiohttp import ClientSession, TCPConnector, WSMsgType

from bench.clients import coroutines
from bench.clients.options import Options


class Ended(Exception):
    """Something else than a message was received."""


def run(options: Options) -> None:
    options.run(_run(options))


async def _run(options: Options) -> None:
    # By default, a session has at most 100 connections.
    async with ClientSession(connector=TCPConnector(limit=0)) as session:

        async def connect(url: str) -> coroutines.Connection:
            client = await session.ws_connect(
                url, max_msg_size=options.max_message_size, compress=15 if options.compress else 0
            )

            async def send(message: str | bytes) -> None:
                if isinstance(message, str):
                    await client.send_str(message)
                else:
                    await client.send_bytes(message)

            async def recv() -> Any:
                message = await client.receive()
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    raise Ended(message)
                return message.data

            return coroutines.Connection(send, recv, client.close)

        await coroutines.run(options, connect)

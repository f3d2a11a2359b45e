"""What a client does, by a library on asyncio."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any, AsyncIterator, Awaitable, Callable, NamedTuple

from bench.clients import REQUESTS_AHEAD
from bench.clients.options import Options, say_open


class Connection(NamedTuple):
    """An open connection, as coroutine functions."""

    send: Callable[[Any], Awaitable[Any]]
    """Takes str as text and bytes as binary."""
    recv: Callable[[], Awaitable[Any]]
    close: Callable[[], Awaitable[Any]]


Connect = Callable[[str], Awaitable[Connection]]


async def run(options: Options, connect: Connect) -> None:
    """Be a client.

    Args:
        options: Those of the command line.
        connect: Connects to a URL.
    """
    if options.agent:
        for url in options.case_urls:
            await _case(url, connect)
    elif options.load == "hold":
        await hold(lambda: _answered(options, connect))
    else:
        loads = {"echo": _echo, "stream": _stream, "connect": _connect}
        await loads[options.load](options, connect)


async def hold(connect: Callable[[], Awaitable[Any]]) -> None:
    """Do what `bench.clients.options.hold` does."""
    connections: list[Any] = []
    async for line in _stdin():
        while len(connections) < int(line):
            connections.append(await connect())
        say_open(len(connections))
    os._exit(0)


async def _stdin() -> AsyncIterator[bytes]:
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    async for line in reader:
        yield line


async def _echo(options: Options, connect: Connect) -> None:
    send, recv, _ = await connect(options.url)
    message = options.message
    while True:
        await send(message)
        await recv()


async def _stream(options: Options, connect: Connect) -> None:
    send, recv, _ = await connect(options.url)
    message = options.message
    for _ in range(REQUESTS_AHEAD - 1):
        await send(message)
    while True:
        await send(message)
        for _ in range(options.replies):
            await recv()


async def _connect(options: Options, connect: Connect) -> None:
    while True:
        connection = await connect(options.url)
        await connection.close()


async def _answered(options: Options, connect: Connect) -> Connection:
    connection = await connect(options.url)
    await connection.send(options.message)
    if await connection.recv() != options.message:
        raise AssertionError("another message has come back")
    return connection


async def _case(url: str, connect: Connect) -> None:
    """Echo until the end, which the library tells by some exception."""
    try:
        connection = await connect(url)
        try:
            while True:
                await connection.send(await connection.recv())
        finally:
            await connection.close()
    except Exception as error:
        print(f"{url}: {error!r}", flush=True)

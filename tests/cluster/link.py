"""A way to Redis that may be slow, or lead elsewhere."""

from __future__ import annotations

import asyncio
import math
import threading
from concurrent.futures import Future
from typing import Any, Coroutine, Tuple

CHUNK = 4 << 10
HELD = 256
"""Chunks that are on their way in one direction, at most."""

Held = asyncio.Queue[Tuple[float, bytes]]
"""Chunks, and when they are due; the last is empty."""


class Link:
    """A proxy before Redis, on a port of its own. It may be changed at any time.

    target: the port to which the next connections lead.
    delay: seconds that all takes in each direction.
    rate: bytes a second in each direction of a connection.
    """

    def __init__(self, target: int) -> None:
        self.target, self.delay, self.rate = target, 0.0, math.inf
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._started: Future[int] = Future()

    def __enter__(self) -> Link:
        self._thread.start()
        self.url = f"redis://127.0.0.1:{self._started.result()}/0"
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0, limit=CHUNK)
        self._started.set_result(server.sockets[0].getsockname()[1])
        await self._end.wait()
        server.close()

    async def _connect(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        writers = [to_near]
        try:
            far, to_far = await asyncio.open_connection("127.0.0.1", self.target, limit=CHUNK)
            writers.append(to_far)
            await asyncio.gather(*self._way(near, to_far), *self._way(far, to_near))
        except (OSError, asyncio.CancelledError):  # one end is gone, or it's over
            pass
        finally:
            for writer in writers:
                writer.transport.abort()

    def _way(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[Coroutine[Any, Any, None], ...]:
        held: Held = asyncio.Queue(HELD)
        return self._hold(reader, held), _deliver(held, writer)

    async def _hold(self, reader: asyncio.StreamReader, held: Held) -> None:
        data = b"to begin with"
        while data:
            data = await reader.read(CHUNK)
            await asyncio.sleep(len(data) / self.rate)
            await held.put((self._loop.time() + self.delay, data))


async def _deliver(held: Held, writer: asyncio.StreamWriter) -> None:
    data = b"to begin with"
    while data:
        due, data = await held.get()
        await asyncio.sleep(due - asyncio.get_running_loop().time())
        writer.write(data)
        await writer.drain()
    writer.write_eof()

"""A TCP proxy whose connections can be slow, freeze, break, and come back."""

from __future__ import annotations

import asyncio
import math
import threading
from typing import Any, Coroutine, Tuple, TypeVar

CHUNK = 4 << 10
HELD = 256
"""The most chunks that are on their way in one direction of a connection."""
CALL_SECONDS = 10

AnyProxy = TypeVar("AnyProxy", bound="TCPProxy")
Chunk = Tuple[float, bytes]
"""Data, empty at the end, and when it is due."""


class TCPProxy:
    """A proxy on a port of its own, with a thread of its own. It may be changed at any time.

    Args:
        target: The port to which new connections lead.

    Attributes:
        port: The port it listens on.
        target: As above.
        delay: Seconds that data takes in each direction.
        rate: Bytes a second in each direction of a connection.
        to_clients, to_server: Bytes delivered so far.
    """

    port: int

    def __init__(self, target: int) -> None:
        self.target, self.delay, self.rate = target, 0.0, math.inf
        self.to_clients = self.to_server = 0
        self._refusing = False
        self._writers: dict[asyncio.StreamWriter, None] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._call(self._listen())

    def freeze(self, *, to_server: bool = True) -> None:
        """Hold all data back without a sign; or only what goes to clients."""

        async def freeze() -> None:
            self._to_client.clear()
            if to_server:
                self._to_server.clear()

        self._call(freeze())

    def cut(self) -> None:
        """Reset all connections, with the data on its way, and refuse new ones."""

        async def cut() -> None:
            self._refusing = True
            for writer in self._writers:
                writer.transport.abort()

        self._call(cut())

    def restore(self) -> None:
        """Accept connections again, and deliver what was held back."""

        async def restore() -> None:
            self._refusing = False
            self._to_client.set()
            self._to_server.set()

        self._call(restore())

    def close(self) -> None:
        """End; all connections break."""

        async def close() -> None:
            self._server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._call(close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_SECONDS)
        self._loop.close()

    def __enter__(self: AnyProxy) -> AnyProxy:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(CALL_SECONDS)

    async def _listen(self) -> None:
        self._to_client, self._to_server = asyncio.Event(), asyncio.Event()
        self._to_client.set()
        self._to_server.set()
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0, limit=CHUNK)
        assert self._server.sockets
        self.port = self._server.sockets[0].getsockname()[1]

    async def _connect(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        writers = [to_client]
        self._writers[to_client] = None
        try:
            if not self._refusing:
                server, to_server = await asyncio.open_connection(
                    "127.0.0.1", self.target, limit=CHUNK
                )
                writers.append(to_server)
                self._writers[to_server] = None
                await asyncio.gather(
                    *self._direction(client, to_server, self._to_server),
                    *self._direction(server, to_client, self._to_client),
                )
        except (OSError, asyncio.CancelledError):  # one end is gone, or the proxy is closed
            pass
        finally:
            for writer in writers:
                del self._writers[writer]
                writer.transport.abort()

    def _direction(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flowing: asyncio.Event
    ) -> tuple[Coroutine[Any, Any, None], Coroutine[Any, Any, None]]:
        held: asyncio.Queue[Chunk] = asyncio.Queue(HELD)
        return self._hold(reader, held), self._deliver(held, writer, flowing)

    async def _hold(self, reader: asyncio.StreamReader, held: asyncio.Queue[Chunk]) -> None:
        data: bytes | None = None
        while data != b"":
            data = await reader.read(CHUNK)
            await asyncio.sleep(len(data) / self.rate)
            await held.put((self._loop.time() + self.delay, data))

    async def _deliver(
        self, held: asyncio.Queue[Chunk], writer: asyncio.StreamWriter, flowing: asyncio.Event
    ) -> None:
        data: bytes | None = None
        while data != b"":
            due, data = await held.get()
            await asyncio.sleep(due - self._loop.time())
            await flowing.wait()
            if flowing is self._to_client:
                self.to_clients += len(data)
            else:
                self.to_server += len(data)
            writer.write(data)
            await writer.drain()
        writer.write_eof()

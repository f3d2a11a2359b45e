"""A TCP connection that can freeze, break, and come back."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Coroutine

from e2e.server import Server

CHUNK = 1 << 16
CALL_SECONDS = 10


class Link:
    """A proxy on a port of its own, between a page and its server."""

    def __init__(self, server: Server) -> None:
        self.way = server.way
        self._server_port = server.port
        self._writers: set[asyncio.StreamWriter] = set()
        self._cut = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.port: int = self._call(self._listen())

    def freeze(self, *, to_server: bool = True) -> None:
        """Hold everything back and tell nobody; or only what goes to the page."""

        async def freeze() -> None:
            self._to_page.clear()
            if to_server:
                self._to_server.clear()

        self._call(freeze())

    def cut(self) -> None:
        """Drop all connections, with what they hold, and refuse new ones."""

        async def cut() -> None:
            self._cut = True
            for writer in self._writers:
                writer.transport.abort()

        self._call(cut())

    def restore(self) -> None:
        """Be as in the beginning, and deliver what was held back."""

        async def restore() -> None:
            self._cut = False
            self._to_page.set()
            self._to_server.set()

        self._call(restore())

    def close(self) -> None:
        """End; all connections break."""

        async def close() -> None:
            self._server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._call(close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_SECONDS)
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(CALL_SECONDS)

    async def _listen(self) -> int:
        self._to_page, self._to_server = asyncio.Event(), asyncio.Event()
        self._to_page.set()
        self._to_server.set()
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _connect(self, page: asyncio.StreamReader, to_page: asyncio.StreamWriter) -> None:
        writers = {to_page}
        self._writers.add(to_page)
        try:
            if not self._cut:
                server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
                writers.add(to_server)
                self._writers.add(to_server)
                await asyncio.gather(
                    _pump(page, to_server, self._to_server), _pump(server, to_page, self._to_page)
                )
        except OSError:  # the server is down, or one end has reset the connection
            pass
        finally:
            self._writers -= writers
            for writer in writers:
                writer.transport.abort()


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flowing: asyncio.Event
) -> None:
    data = await reader.read(CHUNK)
    while data:
        await flowing.wait()
        writer.write(data)
        await writer.drain()
        data = await reader.read(CHUNK)
    await flowing.wait()
    writer.write_eof()

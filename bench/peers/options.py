"""The options of an echo server, and functions that several of them share."""

from __future__ import annotations

import os
import ssl
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any, Coroutine

from bench.peers import SLEEP_SECONDS, SLEEPERS, Peer


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    peer: Peer
    port: int
    compress: bool
    tls: tuple[str, str] | None
    ping: bool
    """True: pings as the library sends them by default. False: none."""
    mode: str

    @property
    def broadcast(self) -> bool:
        return self.mode == "broadcast"

    @property
    def context(self) -> ssl.SSLContext | None:
        """A new TLS context, or None for a plain server."""
        if not self.tls:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.tls)
        return context

    def ready(self, port: int) -> None:
        """Print the URL, and end the process when the standard input does."""
        threading.Thread(target=_exit_with_stdin, daemon=True).start()
        print(f"{'wss' if self.tls else 'ws'}://127.0.0.1:{port}/", flush=True)

    def sleep(self, message: str | bytes) -> None:
        """Block, if the message asks for that."""
        if self._blocks(message):
            time.sleep(SLEEP_SECONDS)

    async def asleep(self, message: str | bytes) -> None:
        """Block in a thread, if the message asks for that: for servers on an event loop."""
        if self._blocks(message):
            import asyncio  # noqa: PLC0415

            await asyncio.get_running_loop().run_in_executor(None, time.sleep, SLEEP_SECONDS)

    def _blocks(self, message: str | bytes) -> bool:
        start = message[:5]
        return self.mode == "sleep" and start in ("sleep", b"sleep")

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Run an asyncio program, on uvloop where the peer asks for that."""
        import asyncio  # noqa: PLC0415 - only servers on an event loop pay for it
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

        async def with_threads() -> None:
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(SLEEPERS))
            await main

        if self.peer.uvloop:
            import uvloop  # noqa: PLC0415

            uvloop.run(with_threads())
        else:
            asyncio.run(with_threads())


def _exit_with_stdin() -> None:
    while sys.stdin.buffer.read(1):
        pass
    os._exit(0)  # without waiting for threads

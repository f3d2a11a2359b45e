"""The options of an echo server, and functions that several of them share."""

from __future__ import annotations

import os
import ssl
import sys
import threading
from dataclasses import dataclass
from typing import Any, Coroutine

from bench.peers import SLEEPERS, Peer
from tests.support import verbs


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    peer: Peer
    port: int
    compress: bool
    max_message_size: int
    """Bytes."""
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

    def reply(self, message: str | bytes) -> str | bytes:
        """Return the reply to a message, after what it asks for."""
        return verbs.reply(message) if self.mode == "verbs" else message

    async def reply_async(self, message: str | bytes) -> str | bytes:
        """Do the same on an event loop."""
        return await verbs.reply_async(message) if self.mode == "verbs" else message

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

"""The options of a client, and functions that several of them share."""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import dataclass
from typing import Any, Callable, Coroutine

from bench.messages import letters
from bench.peers import Peer


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    peer: Peer
    url: str
    """With "/" as its path."""
    load: str
    size: int
    """Bytes of each message."""
    binary: bool
    replies: int
    """The number of messages that answer a request, in a stream."""
    compress: bool
    agent: str
    """If it isn't empty, the cases are run instead of the load."""
    cases: tuple[str, ...]
    max_message_size: int
    """Bytes."""

    @property
    def message(self) -> str | bytes:
        """What is sent."""
        data = letters(self.size)
        return data if self.binary else data.decode()

    @property
    def ping(self) -> bool:
        """Whether the library sends pings as it does by default. Within a case they would be taken
        for a part of the answer."""
        return not self.agent

    @property
    def case_urls(self) -> list[str]:
        """The URLs to connect to for the cases, the last one for the report."""
        cases = [f"{self.url}runCase?casetuple={case}&agent={self.agent}" for case in self.cases]
        return [*cases, f"{self.url}updateReports?agent={self.agent}"]

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Run an asyncio program, on uvloop where the peer asks for that."""
        import asyncio  # noqa: PLC0415 - only clients on an event loop pay for it

        if self.peer.uvloop:
            import uvloop  # noqa: PLC0415

            uvloop.run(main)
        else:
            asyncio.run(main)


def end_with_stdin() -> None:
    """End the process when the standard input does, as it does when whoever has started it ends."""
    threading.Thread(target=_exit_with_stdin, daemon=True).start()


def _exit_with_stdin() -> None:
    while os.read(0, 1):  # not by sys.stdin, whose lock the interpreter takes at its end
        pass
    os._exit(0)  # without waiting for threads


def hold(connect: Callable[[], Any]) -> None:
    """Have as many connections as each line of the standard input says; say so when it is done.

    Args:
        connect: Returns a new connection, once its first message was answered.
    """
    connections: list[Any] = []
    for line in sys.stdin:
        while len(connections) < int(line):
            connections.append(connect())
        say_open(len(connections))
    os._exit(0)


def say_open(connections: int) -> None:
    print(json.dumps({"open": connections}), flush=True)

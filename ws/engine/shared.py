"""One engine for all clients of a process: a loop, its threads, and threads that connect.

It starts with the first client, and ends a moment after the last one. A forked child has none of
its parent's clients: `abandoned` says so of them.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import Callable, Optional, cast

from .cork import WriteBatch
from .daemon import DaemonThread
from .loop import Loop, Source
from .threads import LeaderFollowers

CALLBACKS = 64
"""Callbacks of all clients that may block at the same time. Others wait."""
DIALLERS = 32
"""Clients that connect in the background at the same time. Others wait."""
IDLE_SECONDS = 1.0
"""The engine ends when there was no client for this long."""
GOODBYE_SECONDS = 1.0
"""Time for all closing handshakes together, when the interpreter exits."""


class Member(ABC):
    """A client that uses the engine."""

    @abstractmethod
    def say_goodbye(self) -> None:
        """Begin the closing handshake, because the interpreter exits. Must not block."""

    @abstractmethod
    def join(self, timeout: float) -> None:
        """Wait up to *timeout* seconds for the end."""

    @abstractmethod
    def orphan(self) -> None:
        """Drop all, because this is a forked child. Must take no lock."""


class Engine(Source):
    """A loop and its threads, for all clients of a process."""

    __slots__ = "_diallers _ending _idle_since _lock _members _waiting batch loop threads".split()

    def __init__(self) -> None:
        super().__init__()
        self.loop: Loop = Loop()
        self.threads: LeaderFollowers = LeaderFollowers(self.loop, CALLBACKS)
        self.batch: WriteBatch = WriteBatch(lambda source: None)
        """Never open, for clients that write at once."""
        self._members: dict[Member, None] = {}
        self._idle_since = 0.0  # when the last client ended
        self._ending = False  # whether `on_deadline` is due
        self._lock = threading.Lock()  # guards the two below
        self._waiting: deque[Callable[[], None]] = deque()
        self._diallers = 0
        self.threads.start()

    def add(self, member: Member) -> None:
        """Count a client. The caller holds the lock of this module."""
        self._members[member] = None

    def remove(self, member: Member) -> None:
        """Count a client no more. From any thread."""
        self._members.pop(member, None)
        if not self._members:
            self._idle_since = time.monotonic()
            if not self._ending:
                self._ending = True
                self.loop.schedule(self, self._idle_since + IDLE_SECONDS)

    @property
    def members(self) -> list[Member]:
        """All clients."""
        return list(self._members)

    def on_deadline(self, now: float) -> None:
        """End, if there was no client for long enough."""
        global _engine  # noqa: PLW0603
        with _lock:
            self._ending = False
            if self._members:
                return
            end = self._idle_since + IDLE_SECONDS
            if now < end:
                self._ending = True
                self.loop.schedule(self, end)
                return
            if _engine is self:
                _engine = None
        self.threads.stop()

    # Connecting

    def call(self, dial: Callable[[], None]) -> None:
        """Have a thread call *dial*, which may block."""
        with self._lock:
            self._waiting.append(dial)
            if self._diallers >= DIALLERS:
                return
            self._diallers += 1
        try:
            DaemonThread(self._dial, "ws-dial").start()
        except RuntimeError:
            with self._lock:
                self._diallers -= 1
                if self._diallers:  # the others do it
                    return
                self._waiting.remove(dial)
            raise

    def _dial(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._diallers -= 1
                    return
                dial = self._waiting.popleft()
            dial()


_lock = threading.Lock()
_engine = cast(Optional[Engine], None)  # before Python 3.8, a global has no annotation


def join(member: Member) -> Engine:
    """Add a client. Return the engine, which is started if there is none.

    Raises:
        OSError: The system has no descriptor left.
        RuntimeError: The system can't start a thread.
    """
    global _engine  # noqa: PLW0603
    with _lock:
        if _engine is None:
            _engine = Engine()
        _engine.add(member)
        return _engine


def _say_goodbye() -> None:
    """Close all clients, when the interpreter exits."""
    members = _engine.members if _engine else []
    deadline = time.monotonic() + GOODBYE_SECONDS
    for member in members:
        member.say_goodbye()
    for member in members:
        member.join(max(0.0, deadline - time.monotonic()))


def _after_fork() -> None:
    global _engine, _lock
    engine, _engine, _lock = _engine, None, threading.Lock()
    if engine:
        engine.threads.orphan()
        for member in engine.members:
            member.orphan()


atexit.register(_say_goodbye)  # defence: client-exit
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)  # defence: client-fork

"""A server's life, as one state machine: it starts, serves, drains, and has ended.

    NEW -> STARTING -> RUNNING -> STOPPING -> STOPPED
             |                       (`stop` was called: the leader takes the steps)
             +-> NEW, if starting fails

In a child that is forked while it runs, it is ELSEWHERE from then on: in the parent.

If `stop` is called while the server starts, the shutdown begins as soon as the server runs.
"""

from __future__ import annotations

import enum
import threading
import time
from abc import ABC, abstractmethod
from typing import Any, Iterator

from .engine.log import logger
from .engine.loop import LONGEST_POLL_SECONDS, Loop, Source

CUT_SECONDS = 0.2
"""Clients that are still connected are cut this long before the deadline of a shutdown, so that
their callbacks can return in time."""


class State(enum.Enum):
    """Where a server is in its life."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ELSEWHERE = "elsewhere"


class Draining(ABC):
    """The steps of a shutdown. The leader takes them. Only `release` may block."""

    @abstractmethod
    def refuse_newcomers(self) -> None:
        """Stop listening. Called more than once."""

    @abstractmethod
    def is_empty(self) -> bool:
        """Say whether all connections have ended and all onclose callbacks have returned."""

    @abstractmethod
    def say_goodbye(self) -> None:
        """Begin the closing handshake with everybody. Called more than once."""

    @abstractmethod
    def cut_everybody(self) -> None:
        """Cut all clients that are still connected. Called more than once."""

    @abstractmethod
    def release(self, timeout: float) -> None:
        """Release the server's resources. May take up to *timeout* seconds."""

    @abstractmethod
    def locks(self) -> Iterator[Any]:
        """Yield the reentrant locks that the leader may wait for, the outer ones first."""


def is_mine(lock: Any) -> bool:
    """Say whether the calling thread holds a reentrant lock. `threading.Condition` asks so, too."""
    owned: bool = lock._is_owned()
    return owned


class Lifecycle(Source):
    """The state of a server, and the deadline of its shutdown.

    Args:
        draining: The steps of a shutdown.
    """

    __slots__ = ("_cut_by", "_deadline", "_draining", "_ended", "_loop", "state")

    def __init__(self, draining: Draining) -> None:
        super().__init__()
        self.state: State = State.NEW
        self._draining = draining
        self._loop: Loop  # its leader takes the steps
        self._deadline: float | None = None  # of the shutdown
        self._cut_by: float | None = None  # deadline for the clients that were cut
        self._ended = threading.Lock()  # held from `begin` until the server has ended

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for, at any time."""
        return self._deadline is not None

    @property
    def clean(self) -> bool:
        """Whether the server doesn't run, and nobody was cut at the deadline of a shutdown."""
        return not self.active and self._cut_by is None

    @property
    def active(self) -> bool:
        """Whether the server starts, serves or drains, in this process."""
        return self.state in (State.STARTING, State.RUNNING, State.STOPPING)

    def check_process(self) -> None:
        """Check that the server was started by this process, if at all.

        Raises:
            RuntimeError: The process is a child that was forked after that.
        """
        if self.state is State.ELSEWHERE:
            raise RuntimeError(
                "this process was forked from the one that serves, and serves nobody: fork first, "
                "then start() a server"
            )

    def begin(self) -> None:
        """Note that starting begins.

        Raises:
            RuntimeError: The server was started or stopped before.
        """
        self.check_process()
        if self.state is not State.NEW or self.stopping or not self._ended.acquire(timeout=1):
            raise RuntimeError("a server runs once: make a new WSServer")
        self.state = State.STARTING

    def abort(self) -> None:
        """Note that starting has failed, and that nothing is left of it."""
        self.state = State.NEW
        self._ended.release()

    def run(self, loop: Loop) -> None:
        """Note that the server runs, on this loop."""
        self._loop = loop
        self.state = State.RUNNING
        self.check()

    def stop(self, timeout: float) -> None:
        """Ask for a shutdown within *timeout* seconds, an hour at most. Takes no lock."""
        deadline = time.monotonic() + min(max(timeout, 0), LONGEST_POLL_SECONDS)
        self._deadline = deadline if self._deadline is None else min(deadline, self._deadline)
        self.check()

    def check(self) -> None:
        """Have the leader take the next step of a shutdown, if one was asked for.

        Called whenever a connection or an `onclose` callback has ended. Takes no lock.
        """
        if self.stopping and self.state in (State.RUNNING, State.STOPPING):
            self._loop.schedule(self, 0)

    def wait(self, timeout: float = -1) -> None:
        """Wait until the server has ended, for up to *timeout* seconds, or with -1 without limit.

        Return at once if the calling thread holds a lock of the library: it is then in a signal
        handler that has interrupted a call, and the leader needs the lock for the shutdown.
        """
        if not self.active or any(map(is_mine, self._draining.locks())):
            return
        if self._ended.acquire(timeout=timeout):  # not an Event: a signal handler may wait, too
            self._ended.release()

    def orphan(self) -> None:
        """Note that this is a forked child. Takes no lock."""
        self.state = State.ELSEWHERE
        if self._ended.locked():
            self._ended.release()

    def on_deadline(self, now: float) -> None:
        """Take the steps that are due."""
        if self._deadline is None or self.state is State.STOPPED:
            return
        self.state = State.STOPPING
        self._draining.refuse_newcomers()
        time_is_up = self._cut_by is not None and now >= self._cut_by
        if time_is_up or self._draining.is_empty():
            self._end(now)
            return
        self._draining.say_goodbye()
        last_call = self._deadline - CUT_SECONDS
        if now >= last_call:
            self._cut_by = self._cut_by or now + CUT_SECONDS
            self._draining.cut_everybody()
        self._loop.schedule(self, self._cut_by or last_call)
        if self._draining.is_empty():  # again: one may have ended meanwhile
            self.check()

    def on_fault(self) -> None:
        """Try again soon: without a deadline, the shutdown would never end."""
        self._loop.schedule(self, time.monotonic() + CUT_SECONDS)

    def _end(self, now: float) -> None:
        assert self._deadline is not None
        try:
            self._draining.release(max(CUT_SECONDS, self._deadline - now))
        except BaseException:  # even sys.exit() in a backplane, or the server would never end
            logger.exception("error at the end of a shutdown, which is complete all the same")
        self.state = State.STOPPED
        self._ended.release()

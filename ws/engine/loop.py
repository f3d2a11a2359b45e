"""Readiness: which sources can be read or written now, and whose deadline has passed."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any, Iterator

from ..wire.events import Event
from .log import logger
from .poll import READ, EpollPoller, Poller
from .shares import NOBODY, Share
from .timers import Timers

LONGEST_POLL_SECONDS = 3600.0
"""The longest single wait. Some systems refuse longer ones, such as a month."""
RESUME = 4
"""A third kind of readiness, with READ and WRITE: the source has unparsed events."""
DRAINED = 8
"""A fourth kind: the source was congested, and isn't any more."""
FORGOTTEN = -1
"""The value of `Source.interest` for a source that is never watched again."""


class Source:
    """Something that a loop serves: it has a descriptor, a deadline, or both.

    The leader calls the methods. Workers call `handle`, too, and the monitor `on_writable` and
    `on_fault`. Only `handle` may block. The inbox and the events say who handles the events:

        neither   the leader handles each event as soon as it is parsed
        events    parsing is about to continue: the source is resumed, or will be when it drains
        inbox     a worker handles the events in the inbox, and the leader adds to it
        both      the inbox is full, or ends in a barrier: no parsing until the worker resumes it

    While a source is congested, no callback runs for it: too much waits to be written to it.
    """

    __slots__ = "condemned congested current events inbox interest share tick used".split()

    protocol: Any
    """The parser of a source that has events. Its `more` says whether bytes that came with the
    last event are still to be parsed; its `holding`, whether `end_turn` is to be called."""

    def __init__(self) -> None:
        self.interest: int = 0  # what it is watched for: READ and WRITE, or FORGOTTEN
        self.tick: int | None = None  # when its deadline passes, see `Timers`
        self.inbox: deque[Event] | None = None  # events for its worker, if it has one
        self.current: Event | None = None  # the event that its worker handles now
        self.events: Iterator[Event] | None = None  # events that are still to be parsed
        self.share: Share = NOBODY  # for whom it is served
        self.used: float = 0.0  # seconds for which it was served, see `Turns`
        self.congested: bool = False  # whether it has to drain before it is read on
        # Whether it is being cut, so that what it holds is about to be freed
        self.condemned: bool = False

    @property
    def forgotten(self) -> bool:
        """Whether it is never served again."""
        return self.interest == FORGOTTEN

    def fileno(self) -> int:
        """Return the descriptor to watch."""
        raise NotImplementedError

    def on_readable(self) -> Iterator[Event] | None:
        """Read. Return the events in what was read, each parsed when it is asked for."""
        return None

    def on_early(self) -> None:
        """Called when it is readable, but earlier events are not parsed yet."""

    def on_writable(self) -> None:
        """Write what waits."""

    def on_deadline(self, now: float) -> None:
        """Do what is due at *now*, by time.monotonic()."""

    def on_fault(self) -> None:
        """End this source, because another method raised: a bug, or no memory."""

    def handle(self, event: Event) -> None:
        """Act on one event, in any thread. It may block, but never raises."""

    def end_turn(self) -> bool:
        """Do what is due after events were parsed. Return whether reading holds any memory.

        Then it is called again after the next turn, whatever comes.
        """
        return False

    def settle(self) -> None:
        """Take account of the memory that reading holds, because that has changed. Any thread."""


class Loop:
    """Watches sources, and keeps their deadlines. One thread at a time polls: the leader."""

    def __init__(self) -> None:
        self.polling: bool = False
        """Whether the leader is waiting in `poll`."""
        self.rounds: int = 0
        """How often `poll` has returned."""
        self.now: float = 0.0
        """When `poll` has returned, by time.monotonic()."""
        self.resumed: dict[Source, int] = {}
        """Sources to serve with RESUME or DRAINED, in order. The leader removes what it serves."""
        self._poller = EpollPoller() if hasattr(select, "epoll") else Poller()
        self._closed = False
        self._interest_lock = threading.Lock()  # guards the interest of all sources
        self._timers = Timers()
        self._waker = _Waker()
        self.watch(self._waker, READ)

    def poll(self) -> list[tuple[Any, int]]:
        """Wait until a source is ready. Return the ready sources, each with its readiness.

        Before that, call `on_deadline` of the sources whose deadline has passed.
        """
        self.polling = True
        timers = self._timers
        if timers.changes:
            timers.apply()
        timeout = min(timers.due - time.monotonic(), LONGEST_POLL_SECONDS)
        ready = self._poller.wait(0 if self.resumed or timeout < 0 else timeout)
        self.polling = False
        self.rounds += 1
        self.now = now = time.monotonic()
        if now >= timers.due:
            self._keep_deadlines(now)
        if self.resumed:
            ready[:0] = [(source, self.resumed[source]) for source in list(self.resumed)]
        return ready

    def _keep_deadlines(self, now: float) -> None:
        for source in self._timers.expired(now):
            try:
                source.on_deadline(now)
            except Exception:
                logger.exception("error at a deadline of %r", source)
                source.on_fault()

    def watch(self, source: Source, add: int = 0, remove: int = 0) -> None:
        """Change what *source* is watched for: READ, WRITE or both. Any thread may call it.

        Raises:
            OSError: The system can't watch one more descriptor.
        """
        with self._interest_lock:
            old = source.interest
            new = old & ~remove | add
            if old in (FORGOTTEN, new) or self._closed:
                return
            self._poller.change(source, old, new)
            source.interest = new
        if not self._poller.live:
            self.wake()

    def forget(self, source: Source) -> None:
        """Never serve *source* again. Call this before its descriptor is closed."""
        with self._interest_lock:
            if source.interest > 0 and not self._closed:
                self._poller.change(source, source.interest, 0)
            source.interest = FORGOTTEN
        self.schedule(source, None)

    def schedule(self, source: Source, deadline: float | None) -> None:
        """Have `source.on_deadline` called at *deadline* (time.monotonic), or with None, never.

        A source has one deadline: the last one that was set. The call is never early, and up to
        a sixteenth of a second late. Takes no lock, so a signal handler may call it.
        """
        self._timers.changes[source] = deadline
        if deadline is None or deadline < self._timers.due:  # else the wait ends early enough
            self.wake()

    def resume(self, source: Source) -> None:
        """Have the leader continue with the events of *source*. Takes no lock."""
        self.resumed[source] = RESUME
        self.wake()

    def drained(self, source: Source) -> None:
        """Have the leader read *source* on, which was congested. Takes no lock."""
        self.resumed.setdefault(source, DRAINED)
        self.wake()

    def wake(self) -> None:
        """End the leader's wait, if it is waiting. Takes no lock."""
        if self.polling:
            self._waker.wake()

    def close(self) -> None:
        """Release the system's resources. Call this when no thread polls any more."""
        with self._interest_lock:
            if not self._closed:
                self._closed = True
                self._poller.close()
                self._waker.close()

    def orphan(self) -> None:
        """Let go of the descriptors, which this forked child shares with its parent."""
        self._interest_lock = threading.Lock()  # another thread may have held it
        self.close()


class _Waker(Source):
    """Ends the leader's wait from another thread."""

    __slots__ = ("_reader", "_writer")

    def __init__(self) -> None:
        super().__init__()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        return self._reader.fileno()

    def on_readable(self) -> None:
        with suppress(OSError):
            self._reader.recv(4096)

    def wake(self) -> None:
        with suppress(OSError):  # full: the leader is awake already; closed: the loop has ended
            self._writer.send(b"\0")

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

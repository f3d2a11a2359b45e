"""Who works next: the Leader/Followers pattern, with threads on demand.

At any time, each thread is one of

    leader     polls, reads, parses, keeps deadlines, and runs quick callbacks (`_lead`)
    worker     handles the events of one source, out of its inbox (`_work`)
    follower   waits to become either (`_next_job`)

One more thread, the *monitor*, checks every few milliseconds whether the leader is stuck
(`_watch`). It runs no callbacks.

The right to lead is a token, the *baton*. Before a callback, the leader puts the baton into a list,
and afterwards it takes the baton out again. If the callback takes long, the monitor takes the baton
out, and gives the lead to a follower. Both call pop(), and only one call succeeds, so exactly one
thread leads. The leader that was stuck finds the list empty, and continues as a worker. Each leader
has a list of its own, or it could pop its successor's baton.

    leader:    append(event)   callback ............................. pop() fails -> `_work`
    monitor:                   pop(), inbox = deque(), lead vacant -> a follower leads

After that, the leader leaves callbacks to workers for a while. So a source has one reader, the
leader, and at most one thread that runs its callbacks. The leader passes events to that thread by
the inbox. The thread that sends a message also writes it. Nothing but callbacks blocks.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from typing import Any, Callable, Iterator

from ..wire.events import BARRIER, URGENT, YIELD_TURN, Event
from .cork import WriteBatch
from .daemon import DaemonThread
from .log import logger
from .loop import RESUME, Loop
from .poll import READ, WRITE

MONITOR_SECONDS = 0.005
"""Time between two checks of the monitor."""
IDLE_CHECKS = 20
"""After this many checks of an idle leader, the monitor sleeps until the next callback."""
BLOCKING_SOURCES = 5
"""If fewer sources were served than this between two checks in the same round, the monitor assumes
that a callback is blocking."""
INLINE_AFTER = 64
"""After this many quick callbacks in a row in workers, the leader runs callbacks itself again."""
QUICK_SECONDS = 0.002
"""A callback that blocks for longer than this, and for longer than it computes, is not quick."""
LONG_SECONDS = 0.05
"""A callback that takes longer than this is not quick, even if it computes. A broadcast that takes
longer loses the lead."""
TURN_EVENTS = 64
"""After this many events of one source, the other sources are served."""
READ_AHEAD = 16
"""When this many events of a source wait for their callbacks, the source is not read."""
READ_AHEAD_SIZE = 4096
"""Characters or bytes. After a larger message, nothing is read until its callback has returned."""
FOLLOWER_SECONDS = 10.0
"""A thread that finds nothing to do for this long ends."""


class LeaderFollowers:
    """Serves a loop's sources with a leader, a monitor, and up to *limit* threads in callbacks.

    Args:
        loop: The loop to serve.
        limit: How many callbacks may block at the same time. Others wait.
    """

    def __init__(self, loop: Loop, limit: int) -> None:
        self._loop, self._limit = loop, limit  # defence: thread-count
        self.batch: WriteBatch = WriteBatch(lambda source: self._serve(source, WRITE, []))
        """Collects the leader's writes."""
        self.inline: bool = True
        """Whether the leader runs callbacks itself."""
        self.short_of_threads: bool = False
        """Whether the system couldn't start a thread that is needed. The monitor tries again."""
        self._stopped = False
        self._batons: list[Event] = []  # the leader's list; not empty during its callbacks
        self._served = 0  # sources that were served with callbacks so far
        self._serving: tuple[Any, Any] = (None, None)  # the leader's source and its events
        self._turn_is_long = False  # set by the monitor: others have waited long enough
        self._broadcasting = False  # a callback in this round has sent to many clients
        self.asleep: bool = False
        """Whether the monitor sleeps until the next callback."""
        self._alarm = threading.Event()  # set to wake the monitor

        self._lock = threading.Lock()  # guards inboxes and what follows
        self._idents: set[int] = set()  # of the threads, the monitor excepted
        self._count = 0  # threads, from their start until they decide to end
        self._followers: list[threading.Lock] = []  # one for each; released to wake it
        self._vacant = False  # nobody leads: the next thread that asks for work does
        self._runnable: deque[Any] = deque()  # sources whose inbox waits for a worker
        self._workers = 0
        self._turns_for_workers = 0  # quick callbacks in workers before the leader runs some again

    def start(self) -> None:
        """Start the monitor and the first leader. If that fails, the caller closes the loop.

        Raises:
            RuntimeError: The system can't start a thread.
        """
        try:
            DaemonThread(self._monitor, "ws-monitor").start()
            with self._lock:
                self._vacant = True
                self._get_thread()
        except RuntimeError:
            self.stop()
            raise

    def stop(self) -> None:
        """Make all threads end, each when its callback has returned. Takes no lock."""
        self._stopped = True
        self._alarm.set()
        self._loop.wake()

    @property
    def count(self) -> int:
        """How many threads there are now, the monitor included."""
        return len(self._idents) + 1

    def inside(self) -> bool:
        """Say whether the calling thread belongs to this pool, and so is inside a callback."""
        return threading.get_ident() in self._idents

    def keep_lead(self) -> None:
        """Note that a callback of this round is broadcasting, not blocking.

        A broadcast is quicker in the leader, whose writes are batched. Any thread may call this:
        the callback that keeps the lead need not be the one that broadcasts.
        """
        self._broadcasting = True

    # The leader

    def _lead(self) -> Any:
        """Poll and serve until `stop`, or return the source with which the lead was lost."""
        batons: list[Event] = []
        self._batons = batons
        loop = self._loop
        while not self._stopped:
            ready = loop.poll()
            self._broadcasting = False
            for source, mask in ready:
                if self._serve(source, mask, batons):
                    return source
        return None

    def _serve(self, source: Any, mask: int, batons: list[Event]) -> bool:
        """Serve one source. Return whether the lead was lost meanwhile."""
        try:
            if mask & WRITE:
                source.on_writable()
            events = None
            if mask & RESUME:
                del self._loop.resumed[source]
                events, source.events = source.events, None
            elif mask & READ and source.events is None:  # else there are earlier bytes to parse
                events = source.on_readable()
            if events is not None:
                return self._dispatch(source, events, batons)
        except Exception:
            logger.exception("error in serving %r", source)
            source.on_fault()  # defence: fault-ends-source
            self.batch.close()
        return False

    def _dispatch(self, source: Any, events: Iterator[Event], batons: list[Event]) -> bool:
        """Handle *events*, here or in a worker. Return whether the lead was lost meanwhile."""
        self._serving = source, events
        handle, put_down, take_up = source.handle, batons.append, batons.pop
        protocol, batch = source.protocol, self.batch
        counted = False
        turn = TURN_EVENTS
        for event in events:
            batch.open = protocol.more
            kind = event[0]
            if kind & URGENT:
                if kind == YIELD_TURN:
                    turn = 1
                else:
                    handle(event)
            elif self.inline and source.inbox is None:
                if not counted:
                    counted = True
                    self._served += 1
                    if self.asleep:
                        self._alarm.set()
                put_down(event)
                handle(event)
                try:
                    take_up()
                except IndexError:
                    return True
            else:
                protocol.holding = True
                if not self._enqueue(source, event, events):
                    self._loop.watch(source, remove=READ)
                    break
            turn -= 1
            if not turn or self._turn_is_long:  # defence: turns
                self._turn_is_long = False
                protocol.holding = True
                source.events = events
                self._loop.resumed[source] = None
                break
        else:
            if not source.interest & READ:
                self._loop.watch(source, add=READ)
        batch.open = False
        if batch.waiting:
            batch.close()
        if protocol.holding:
            protocol.holding = source.end_turn()
        return False

    def _enqueue(self, source: Any, event: Event, events: Iterator[Event]) -> bool:
        """Leave *event* to a worker. Return False if *events* must wait until it is handled."""
        with self._lock:
            if source.inbox is None:
                source.inbox = deque()
                self._runnable.append(source)
                if self._workers + len(self._runnable) <= self._limit:
                    self._get_thread()
            source.inbox.append(event)
            if (
                not event[0] & BARRIER
                and len(source.inbox) < READ_AHEAD
                and len(event[1] or ()) <= READ_AHEAD_SIZE  # defence: read-ahead
            ):
                return True
            source.events = events  # under the lock, so that a quick worker resumes it
            return False

    # The monitor

    def _monitor(self) -> None:
        while not self._stopped:
            try:
                self._watch()
            except Exception:
                logger.exception("error in the monitor, which continues")
                time.sleep(MONITOR_SECONDS)

    def _watch(self) -> None:
        rounds = served = idle_checks = 0
        since = 0.0  # the first check in this round
        while not self._stopped:
            if idle_checks >= IDLE_CHECKS:
                self.asleep = True
                if served == self._served:  # there was no callback before that was set
                    self._alarm.wait()
                self._alarm.clear()
                self.asleep = False
            time.sleep(MONITOR_SECONDS)
            lasting = rounds == self._loop.rounds and not self._loop.polling
            now = time.monotonic()
            since = since if lasting else now
            stuck = lasting and self._served - served < BLOCKING_SOURCES
            if self._broadcasting and now - since < LONG_SECONDS:  # defence: broadcast-lead
                stuck = False
            self._turn_is_long = lasting
            busy = lasting or served != self._served or self.short_of_threads
            idle_checks = 0 if busy else idle_checks + 1
            rounds, served = self._loop.rounds, self._served
            if stuck and self._take_baton():  # defence: new-leader
                self.batch.close()
            if self.short_of_threads:
                with self._lock:
                    self._get_thread()

    def _take_baton(self) -> bool:
        """Take the lead from a leader inside a callback, whose thread is a worker from now on."""
        with self._lock:
            try:
                event = self._batons.pop()
            except IndexError:  # the leader isn't in a callback
                return False
            source, events = self._serving
            source.current, source.events = event, events
            source.inbox = deque()
            if event[0] & BARRIER:  # `_work` resumes it when that is handled
                self._loop.watch(source, remove=READ)
            else:
                self._loop.resumed[source] = None
            self._workers += 1
            self.leave_to_workers(INLINE_AFTER)
            self._vacant = True
            self._get_thread()
        source.settle()
        return True

    def leave_to_workers(self, turns: int) -> None:
        """Have workers run all callbacks, until *turns* of them were quick.

        While the limit of workers is reached, the leader runs none, whatever *turns* is.
        """
        self._turns_for_workers = turns
        self.inline = not turns and self._workers < self._limit

    # Threads

    def _get_thread(self) -> None:
        """Wake or start a thread, if the lead is vacant or a source needs a worker."""
        self.short_of_threads = False
        if not self._vacant and not self._runnable:
            return
        if self._followers:
            self._followers.pop().release()
            return
        if self._count > self._limit and not self._vacant:  # one of them is about to ask for work
            return
        try:
            DaemonThread(self._run, "ws-thread").start()
            self._count += 1
        except RuntimeError:  # there can't be more threads now: the monitor tries again
            if not self._idents:
                raise
            self.short_of_threads = True
            self._alarm.set()

    def _run(self) -> None:
        ident = threading.get_ident()
        self._idents.add(ident)
        for job in iter(self._next_job, None):
            job()
        self._idents.discard(ident)

    def _next_job(self) -> Callable[[], None] | None:
        """Wait for work. Return None after `stop`, or after FOLLOWER_SECONDS without any."""
        while True:
            with self._lock:
                if self._vacant:
                    self._vacant = False
                    return self._lead_then_work
                if self._runnable and self._workers < self._limit:
                    self._workers += 1
                    self.leave_to_workers(self._turns_for_workers)
                    return functools.partial(self._work, self._runnable.popleft())
                if self._stopped:
                    self._count -= 1
                    return None
                follower = threading.Lock()
                follower.acquire()
                self._followers.append(follower)
            if not follower.acquire(timeout=FOLLOWER_SECONDS):
                with self._lock:
                    if follower in self._followers:
                        self._followers.remove(follower)
                        self._count -= 1
                        return None

    def _lead_then_work(self) -> None:
        try:
            source = self._lead()
        except Exception:
            logger.exception("error in the loop, which continues")
            time.sleep(MONITOR_SECONDS)
            with self._lock:
                self._vacant = True
            return
        if source is not None:
            self._work(source)
            return
        with self._lock:
            while self._followers:
                self._followers.pop().release()
        self._loop.close()

    def _work(self, source: Any) -> None:
        """Handle the events in a source's inbox, as one of `_workers`."""
        was_quick: bool | None = None  # whether the last callback was; None before the first
        while True:
            source.current = None
            source.settle()
            with self._lock:
                if was_quick is not None:
                    turns = max(0, self._turns_for_workers - 1) if was_quick else INLINE_AFTER
                    self.leave_to_workers(turns)
                if not source.inbox or (was_quick is not None and self._runnable):
                    if source.inbox:  # others have waited longer
                        self._runnable.append(source)
                    else:
                        source.inbox = None
                        if source.events is not None:
                            self._loop.resume(source)  # under the lock, so that it can't be stale
                    self._workers -= 1
                    self.leave_to_workers(self._turns_for_workers)
                    return
                source.current = event = source.inbox[0]
                source.inbox.popleft()
            started, cpu_started = time.monotonic(), time.thread_time()
            source.handle(event)
            lasted, computed = time.monotonic() - started, time.thread_time() - cpu_started
            blocked = lasted - computed > max(QUICK_SECONDS, computed)
            was_quick = not blocked and lasted <= LONG_SECONDS

"""Threads on demand: each leads, or is a worker, or is a follower, which waits to become either.

A source whose events are left to workers has an *inbox*. A worker handles the events in it, one
after the other. When others wait, it turns to them. The shares take turns, and one share has at
most three quarters of the workers.

How many callbacks run in workers at the same time follows from what callbacks are seen to do:

    block      as many as `limit` says
    compute    one: each step of the leader would have to wait for each of them (the GIL)

Until the monitor has seen it blocking, a callback counts as computing. While nobody computes,
several may begin before they are seen.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections import deque
from typing import Any, Callable, Iterator

from ..wire.events import BARRIER, LAST_MESSAGE, Event
from .daemon import DaemonThread
from .job import Job
from .log import logger
from .loop import DRAINED, Loop
from .shares import FairQueue, Share, Turns

INLINE_AFTER = 64
"""After this many quick callbacks in a row in workers, the leader runs callbacks itself again."""
TRUSTED_AFTER = 16
"""After this many quick callbacks of one share in a row in workers, the leader runs the callbacks
of this share itself, even if those of others block."""
QUICK_SECONDS = 0.002
"""A callback that blocks for longer than this, and for longer than it computes, is not quick."""
LONG_SECONDS = 0.05
"""A callback that computes for longer than this is not quick either."""
READ_AHEAD = 16
"""When this many events of a source wait for their callbacks, the source is not read."""
READ_AHEAD_SIZE = 4096
"""Characters or bytes. After a larger message, nothing is read until its callback has returned."""
FOLLOWER_SECONDS = 10.0
"""A thread that finds nothing to do for this long ends."""
UNSEEN = 8
"""At most this many callbacks run in workers that weren't seen blocking. While the interpreter is
crowded, it is one."""
SEEN_SECONDS = 0.001
"""A callback that runs for this long while the interpreter isn't crowded is blocking."""
ENDLESS_SECONDS = 0.5
"""Once a callback has computed so long, or blocked for LONG_SECONDS, its share waits no longer."""
SEEN_LATE_SECONDS = 0.02
"""While the interpreter is crowded, a callback is blocking after this long, if it has computed for
less than a tenth of the time."""


class Workers:
    """The threads, and the queue of sources that wait for a worker.

    Args:
        loop: The loop whose sources they serve.
        limit: How many callbacks may block at the same time. Others wait.
        waiting: The queue.
        lead: Called by the thread that becomes the leader. Returns the source with which it has
            lost the lead, or None when the loop has ended.
        turns: Is told for how long the callbacks of each source compute.
    """

    def __init__(
        self, loop: Loop, limit: int, waiting: FairQueue, lead: Callable[[], Any], turns: Turns
    ) -> None:
        self._loop, self._lead, self._turns = loop, lead, turns
        self._limit = limit  # defence: thread-count
        self.trust_needed: float = 0
        """The leader runs the callbacks of shares that have at least so much trust."""
        self.short_of_threads: bool = False
        """Whether the system couldn't start a thread that is needed. `check` tries again."""
        self._crowded = False  # whether the interpreter is: threads wait long for it
        self._stopped = False
        self._lock = threading.Lock()  # guards inboxes and what follows
        self._idents: set[int] = set()  # of the threads
        self._count = 0  # threads, from their start until they decide to end
        self._called = 0  # threads that were started or woken, and haven't asked for work yet
        self._followers: list[threading.Lock] = []  # one for each; released to wake it
        self._vacant = False  # nobody leads: the next thread that asks for work does
        self._leader = 0  # the ident of the thread that leads, or led last
        self._waiting = waiting  # sources whose inboxes wait for a worker
        self._parked: set[Any] = set()  # congested sources whose inboxes wait
        self._jobs: dict[int, Job] = {}  # by the thread's ident
        self._unseen = 0  # how many of the jobs weren't seen blocking
        self._distrust = 0  # quick callbacks in workers before the leader runs some again

    def start(self) -> None:
        """Start the first leader.

        Raises:
            RuntimeError: The system can't start a thread.
        """
        with self._lock:
            self._vacant = True
            self._call_thread()

    def stop(self) -> None:
        """Make all threads end, each when its callback has returned. Takes no lock."""
        self._stopped = True

    def orphan(self) -> None:
        """Give the calling thread no more to do: this is a forked child, which has no other."""
        ident, inside = threading.get_ident(), self.inside()
        self._lock = threading.Lock()  # another thread may have held it
        self._stopped, self._vacant, self._limit = True, False, 0
        self._idents, self._jobs, self._followers = set(), {}, []
        if inside:  # it is in a callback, which may return
            self._idents.add(ident)
            self._begin(Share(), ident)

    @property
    def count(self) -> int:
        """How many threads there are now."""
        return len(self._idents)

    @property
    def waiting(self) -> bool:
        """Whether a source waits for a worker, and only for what others are seen to do."""
        return bool(self._waiting) and len(self._jobs) < self._limit

    @property
    def unsettled(self) -> bool:
        """Whether `check` has something to do."""
        return bool(self._unseen or self._waiting.size or self.short_of_threads)

    def inside(self) -> bool:
        """Say whether the calling thread is one of them, and so is inside a callback."""
        return threading.get_ident() in self._idents

    # Inboxes

    def enqueue(self, source: Any, event: Event, events: Iterator[Event]) -> bool:
        """Leave *event* to a worker. Return False if *events* must wait until it is handled."""
        with self._lock:
            if source.inbox is None:
                source.inbox = deque()
                self._waiting.add(source)
                self._call_thread()
            elif source.condemned:  # drop its messages; defence: memory-inbox
                source.inbox = deque(event for event in source.inbox if event[0] > LAST_MESSAGE)
            source.inbox.append(event)
            if (
                not event[0] & BARRIER
                and len(source.inbox) < READ_AHEAD
                and len(event[1] or ()) <= READ_AHEAD_SIZE  # defence: read-ahead
            ):
                return True
            source.events = events  # under the lock, so that a quick worker resumes it
            return False

    def adopt(self, take_lead: Callable[[], Any], computes: bool) -> Any:
        """Make the leader, which is inside a callback, a worker. Another thread will lead.

        Args:
            take_lead: Takes the lead, and returns the source of the callback. Returns None if the
                callback has returned, so that it fails.
            computes: Whether the callback computes. Otherwise it blocks.

        Returns:
            The source, or None if that failed.
        """
        with self._lock:
            source = take_lead()
            if source is None:
                return None
            source.inbox = deque()
            source.share.workers += 1
            self._waiting.place(source.share)
            job = self._begin(source.share, self._leader)
            job.computes = computes
            self._see(job)
            self._judge(source.share, quick=False, computes=computes)
            self._vacant = True
            self._call_thread()
            return source

    def take_events(self, source: Any, mask: int) -> Iterator[Event] | None:
        """Return the events with which *source* continues, if its worker needn't resume it first.

        Args:
            source: A source that was resumed, or has drained.
            mask: RESUME or DRAINED.
        """
        with self._lock:  # so that its worker can't resume it once more for the same events
            del self._loop.resumed[source]
            if source in self._parked:
                self._parked.discard(source)
                self._waiting.add(source)
                self._call_thread()
            if mask & DRAINED and source.inbox is not None:
                return None
            events: Iterator[Event] | None
            events, source.events = source.events, None
            return events

    # What callbacks are seen to do

    def check(self, crowded: bool) -> None:
        """Find out which callbacks block, and let others begin. Only the monitor calls it.

        Args:
            crowded: Whether the interpreter is: the monitor had to wait long for it.
        """
        self._crowded = crowded
        if not self.unsettled:
            return
        with self._lock:
            for job in self._jobs.values():
                age, share = time.monotonic() - job.started, job.share
                blocks = not job.computes and age > LONG_SECONDS and job.blocks(age)
                if not job.endless and (blocks or (job.computes and age > ENDLESS_SECONDS)):
                    job.endless = True
                    share.endless += 1
                    self._waiting.place(share)
                elif job.unseen and age > SEEN_SECONDS:
                    if not crowded or (age > SEEN_LATE_SECONDS and job.blocks(age)):
                        self._see(job)
                    elif age > LONG_SECONDS:  # others wait no longer, but those of its share do
                        self._see(job)
                        job.computes = True
                        share.width = 1  # defence: computing-width
            calls = 1 + self._waiting.size
            while calls and self._call_thread():
                calls -= 1

    def distrust(self, turns: int) -> None:
        """Have workers run callbacks until *turns* of them were quick."""
        self._distrust = turns
        self._set_trust_needed()

    def _set_trust_needed(self) -> None:
        if len(self._jobs) >= self._limit:  # more than that must not block
            self.trust_needed = math.inf
        else:
            self.trust_needed = TRUSTED_AFTER if self._distrust else 0

    def _judge(self, share: Share, quick: bool, computes: bool) -> None:
        """Note what a callback has done. The caller holds the lock, like all that follow."""
        if quick:
            share.trust = min(share.trust + 1, TRUSTED_AFTER)
            self.distrust(max(0, self._distrust - 1))
        else:
            share.trust = -INLINE_AFTER
            self.distrust(INLINE_AFTER)
        if computes:
            share.width = max(1, min(share.width, share.workers - share.endless) // 2)
        elif not quick:
            share.width += 1
        self._waiting.place(share)

    def _see(self, job: Job) -> None:
        """Note that a job blocks, or at least that others may begin."""
        self._unseen -= job.unseen
        job.unseen = False

    # Threads

    def _begin(self, share: Share, ident: int) -> Job:
        job = self._jobs[ident] = Job(share, ident)
        self._unseen += 1
        self._set_trust_needed()
        return job

    def _end(self, source: Any) -> None:
        """End the calling thread's job, and see to what else is in the source's inbox."""
        job = self._jobs.pop(threading.get_ident())
        self._see(job)
        job.share.workers -= 1
        job.share.endless -= job.endless
        self._waiting.place(job.share)
        self._set_trust_needed()
        if not source.inbox:
            source.inbox = None
            if source.events is not None and not source.congested:
                self._loop.resume(source)  # under the lock, so that it can't be stale
        elif source.congested:
            self._parked.add(source)
            if not source.congested:  # it drained just now, so perhaps nobody unparks it
                self._parked.discard(source)
                self._waiting.add(source)
        else:
            self._waiting.add(source)

    def _may_begin(self, more: int = 0) -> bool:
        """Say whether a job may begin, and *more* others."""
        unseen = 1 if self._crowded else UNSEEN  # defence: computing-alone
        return len(self._jobs) + more < self._limit and self._unseen + more < unseen

    def _call_thread(self) -> bool:
        """Wake or start a thread, if there is work for one. Return whether it did."""
        self.short_of_threads = False
        more = self._called - self._vacant  # threads that were called for waiting sources
        if more >= 0 and not (self._waiting and self._may_begin(more)):
            return False
        if self._followers:
            self._followers.pop().release()
        elif self._count > self._limit and not self._vacant:  # one of them is about to ask for work
            return False
        else:
            try:
                DaemonThread(self._run, "ws-thread").start()
            except RuntimeError:  # there can't be more threads now: the monitor tries again
                if not self._idents:
                    raise
                self.short_of_threads = True
                return False
            self._count += 1
        self._called += 1
        return True

    def _run(self) -> None:
        ident = threading.get_ident()
        self._idents.add(ident)
        job = self._next_job(called=True)
        while job:
            job()
            job = self._next_job(called=False)
        self._idents.discard(ident)

    def _next_job(self, called: bool) -> Callable[[], None] | None:
        """Wait for work. Return None after `stop`, or after FOLLOWER_SECONDS without any."""
        while True:
            with self._lock:
                self._called -= called
                if self._vacant:
                    self._vacant, self._leader = False, threading.get_ident()
                    self._call_thread()  # for what this one leaves
                    return self._lead_then_work
                source = self._waiting.pop() if self._may_begin() else None
                if source is not None:
                    self._begin(source.share, threading.get_ident())
                    source.current = source.inbox[0]
                    source.inbox.popleft()
                    return functools.partial(self._work, source)
                if self._stopped:
                    self._count -= 1
                    return None
                follower = threading.Lock()
                follower.acquire()
                self._followers.append(follower)
            called = follower.acquire(timeout=FOLLOWER_SECONDS)
            if not called:
                with self._lock:
                    if follower in self._followers:
                        self._followers.remove(follower)
                        self._count -= 1
                        return None
                called = True  # just now

    def _lead_then_work(self) -> None:
        try:
            source = self._lead()
        except Exception:
            logger.exception("error in the loop, which continues")
            time.sleep(QUICK_SECONDS)
            with self._lock:
                self._vacant = True
            return
        if source is not None:  # its callback has returned
            with self._lock:  # `adopt` may not have
                pass
            self._settle(source)
            with self._lock:
                self._end(source)
            return
        with self._lock:
            self._called += len(self._followers)
            while self._followers:
                self._followers.pop().release()
        self._loop.close()

    def _work(self, source: Any) -> None:
        crowded = self._crowded
        started, cpu_started = time.monotonic(), time.thread_time()
        source.handle(source.current)
        lasted, computed = time.monotonic() - started, time.thread_time() - cpu_started
        crowded = crowded or self._crowded  # so that it may have waited for the interpreter
        blocked = not crowded and lasted - computed > max(QUICK_SECONDS, computed)
        quick = not blocked and computed <= LONG_SECONDS
        self._turns.charge(source, computed)
        self._settle(source)
        with self._lock:
            self._judge(source.share, quick, computes=crowded and computed > QUICK_SECONDS)
            self._end(source)

    def _settle(self, source: Any) -> None:
        """Let go of the event that was handled."""
        source.current = None
        try:
            source.settle()
        except Exception:  # no memory; the next time corrects it
            logger.exception("error in taking account of %r", source)

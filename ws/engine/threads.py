"""Who works next: the Leader/Followers pattern, with threads on demand.

At any time, each thread is one of

    leader     polls, reads, parses, keeps deadlines, and runs quick callbacks (`_lead`)
    worker     handles an event of one source, out of its inbox (`workers`)
    follower   waits to become either

One more thread, the *monitor*, checks every few milliseconds whether the leader is stuck
(`monitor`). It runs no callbacks.

The right to lead is a token, the *baton*. Before a callback, the leader puts the baton into a list,
and afterwards it takes the baton out again. If the callback blocks, the monitor takes the baton
out, and gives the lead to a follower. Both call pop(), and only one call succeeds, so exactly one
thread leads. The leader that was stuck finds the list empty, and continues as a worker. Each leader
has a list of its own, or it could pop its successor's baton.

    leader:    append(event)   callback ............................. pop() fails -> a worker
    monitor:                   pop(), inbox = deque(), lead vacant -> a follower leads

After that, the leader leaves callbacks to workers for a while. So a source has one reader, the
leader, and at most one thread that runs its callbacks. The leader passes events to that thread by
the inbox. The thread that sends a message also writes it. Nothing but callbacks blocks.

Usually, the leader serves ready sources in the order in which the system reports them. If that
takes long, it polls again, and serves those first that have used least time (`shares`).
"""

from __future__ import annotations

import time
from typing import Any, Callable, Iterator

from ..wire.events import BARRIER, URGENT, WATCHED, YIELD_TURN, Event
from .clocks import ThreadTimes
from .cork import WriteBatch
from .log import logger
from .loop import DRAINED, RESUME, Loop
from .monitor import Monitor
from .poll import READ, WRITE
from .shares import FairQueue, Turns
from .workers import Workers

TURN_EVENTS = 64
"""After this many events of one source, the other sources are served."""
TURN_SECONDS = 0.002
"""The same after this long, while others wait."""
ROUND_SECONDS = 0.005
"""After this long, the leader polls again before it serves the other ready sources."""


class LeaderFollowers:
    """Serves a loop's sources with a leader, a monitor, and up to *limit* threads in callbacks.

    Args:
        loop: The loop to serve.
        limit: How many callbacks may block at the same time. Others wait.
        is_one_share: Says whether all sources are of one share, so that nobody else needs threads.
    """

    def __init__(
        self, loop: Loop, limit: int, is_one_share: Callable[[], bool] = lambda: True
    ) -> None:
        self._loop = loop
        self.batch: WriteBatch = WriteBatch(lambda source: self._serve(source, WRITE, []))
        """Collects the leader's writes."""
        self._turns = Turns()
        queue = FairQueue(limit, is_one_share)
        self.workers: Workers = Workers(loop, limit, queue, self._lead, self._turns)
        self.monitor: Monitor = Monitor(loop, self.workers, self._hand_over)
        self._stopped = False
        self._contended = False  # whether the last round took long: then time is shared fairly
        self._batons: list[Event] = []  # the leader's list; not empty during its callbacks
        self._serving: tuple[Any, Any] = (None, None)  # the leader's source and its events

    def start(self) -> None:
        """Start the monitor and the first leader. If that fails, the caller closes the loop.

        Raises:
            RuntimeError: The system can't start a thread.
        """
        try:
            self.monitor.start()
            self.workers.start()
        except RuntimeError:
            self.stop()
            raise

    def stop(self) -> None:
        """Make all threads end, each when its callback has returned. Takes no lock."""
        self._stopped = True
        self.workers.stop()
        self.monitor.stop()
        self._loop.wake()

    def orphan(self) -> None:
        """Let go of all, because this is a forked child. Takes no lock.

        If the child was forked in a callback, and this returns, then its thread ends.
        """
        self._stopped = True
        self._batons.clear()  # the lead is lost
        self.workers.orphan()
        self.monitor.orphan()
        self._loop.orphan()

    @property
    def count(self) -> int:
        """How many threads there are now, the monitor included."""
        return self.workers.count + 1

    def inside(self) -> bool:
        """Say whether the calling thread belongs to this pool, and so is inside a callback."""
        return self.workers.inside()

    def keep_lead(self) -> None:
        """Note that a callback of this round is broadcasting, not blocking.

        A broadcast is quicker in the leader, whose writes are batched. Any thread may call this:
        the callback that keeps the lead need not be the one that broadcasts.
        """
        self.monitor.broadcasting = True

    def _lead(self) -> Any:
        """Poll and serve until `stop`, or return the source with which the lead was lost."""
        batons: list[Event] = []
        self._batons = batons
        loop, monitor, clock = self._loop, self.monitor, time.monotonic
        times = monitor.leader = ThreadTimes()
        try:
            while not self._stopped:
                ready = loop.poll()
                monitor.broadcasting = False
                if self._contended:
                    lost = self._share_time(ready, batons)
                    if lost is not None:
                        return lost
                    continue
                end = loop.now + ROUND_SECONDS
                for source, mask in ready:
                    if self._serve(source, mask, batons):
                        return source
                    if clock() > end:
                        self._contend()
                        break
            return None
        finally:
            times.close()

    def _contend(self) -> None:
        if not self._contended:
            self._turns.begin()
            self._contended = True  # defence: fair-turns

    def _share_time(self, ready: list[tuple[Any, int]], batons: list[Event]) -> Any:
        """Serve those that have used least time, for one round. Return as `_lead` does."""
        turns, clock = self._turns, time.monotonic
        turns.order(ready)
        now = clock()
        end = now + ROUND_SECONDS
        for source, mask in ready:
            if self._serve(source, mask, batons):
                return source
            started, now = now, clock()
            turns.charge(source, now - started)
            if now > end:
                return None
        self._contended = False
        return None

    def _serve(self, source: Any, mask: int, batons: list[Event]) -> bool:
        """Serve one source. Return whether the lead was lost meanwhile."""
        try:
            if mask & WRITE:
                source.on_writable()
            events = None
            if mask & (RESUME | DRAINED):
                events = self._resume(source, mask)
            elif mask & READ:
                if source.events is not None:
                    source.on_early()
                elif source.congested:
                    self._loop.watch(source, remove=READ)
                else:
                    events = source.on_readable()
            if events is not None:
                return self._dispatch(source, events, batons)
        except Exception:
            logger.exception("error in serving %r", source)
            source.on_fault()  # defence: fault-ends-source
            self.batch.close()
        return False

    def _resume(self, source: Any, mask: int) -> Iterator[Event] | None:
        """Return the events with which a source continues, which was resumed or has drained."""
        events = self.workers.take_events(source, mask)
        if self.monitor.asleep and self.workers.unsettled:  # callbacks were waiting for this
            self.monitor.wake()
        if events is None and source.events is None and not source.interest & READ:
            self._loop.watch(source, add=READ)
            events = source.on_readable()
        return events

    def _dispatch(self, source: Any, events: Iterator[Event], batons: list[Event]) -> bool:
        """Handle *events*, here or in a worker. Return whether the lead was lost meanwhile."""
        self._serving = source, events
        handle, put_down, take_up = source.handle, batons.append, batons.pop
        protocol, batch, monitor = source.protocol, self.batch, self.monitor
        inline = source.inbox is None and source.share.trust >= self.workers.trust_needed
        contended = self._contended
        end = time.monotonic() + TURN_SECONDS if contended else 0.0
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
            else:
                if not counted:
                    counted = True
                    monitor.served += 1
                    if monitor.asleep:
                        monitor.wake()
                if inline:
                    put_down(event)
                    handle(event)
                    try:
                        take_up()
                    except IndexError:
                        return True
                    if source.congested:
                        turn = 1
                else:
                    protocol.holding = True
                    if not self.workers.enqueue(source, event, events):
                        if not kind & WATCHED:
                            self._loop.watch(source, remove=READ)
                        break
            turn -= 1
            # defence: turns
            if not turn or monitor.turn_is_long or (contended and time.monotonic() > end):
                monitor.turn_is_long = False
                protocol.holding = True
                source.events = events
                if source.congested:
                    self._loop.watch(source, remove=READ)
                else:
                    self._loop.resumed[source] = RESUME
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

    def _hand_over(self, computes: bool, seconds: float) -> None:
        """Have another thread lead, if the leader is inside a callback. The monitor calls it.

        Args:
            computes: Whether the callback computes. Otherwise it blocks.
            seconds: How long it has kept the lead.
        """

        def take_baton() -> Any:
            try:
                event = self._batons.pop()
            except IndexError:  # the leader isn't in a callback
                return None
            source, events = self._serving
            source.current, source.events = event, events
            if not event[0] & BARRIER:
                self._loop.resumed[source] = RESUME
            elif not event[0] & WATCHED:  # its worker resumes it when that is handled
                self._loop.watch(source, remove=READ)
            self._contend()
            self._turns.charge(source, seconds)
            return source

        source = self.workers.adopt(take_baton, computes)
        if source is not None:
            self.batch.close()
            source.settle()

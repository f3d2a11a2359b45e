"""Who works next: readiness, threads on demand, timers and wake-ups.

A thread is, at any time, one of

    leader   polls, reads, parses, keeps deadlines, runs quick callbacks (`_lead_on`, `_dispatch`)
    worker   runs the callbacks of one source, out of its inbox (`_work`)
    spare    waits to become either (`_next_job`)

beside one *monitor* (`_watch`), which looks every few milliseconds and runs no callbacks.

Around a callback the leader puts a token down, in a list, and takes it up again after it. The
monitor takes the token of a leader that is stuck, and with it the lead, for a spare. One pop() of
the two succeeds, so exactly one thread leads; the one that was stuck finds the list empty, and is
a worker now. Each leader has a list of its own, or it could pop its successor's token.

    leader:   append(token)   callback ............................ pop() fails -> `_work`
    monitor:                  pop(), inbox = deque(), lead vacant -> a spare leads on

For a while after a stall the leader gives all callbacks to workers. So a source has one reader,
the leader, and at most one runner of its callbacks, and they meet in the inbox. Writing is done
by whoever sends. Nothing but callbacks blocks.
"""

from __future__ import annotations

import functools
import logging
import select
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any, Callable, Iterator

from .frames import BINARY, CLOSE, PING, PONG
from .poll import READ, WRITE, EpollPoller, Poller
from .protocol import FAIL, PAUSE, Event, Protocol
from .timers import Timers

MONITOR_INTERVAL = 0.005
"""Seconds between two looks of the monitor."""
IDLE_LOOKS = 20
"""Looks at an idle leader after which the monitor sleeps until the next callback."""
SLOW_TURNS = 5
"""With fewer sources served than this between two looks at a batch, callbacks are blocking."""
MANY = 64
"""Clients; one that sends to so many isn't blocking, and a worker's writes leave one by one."""
EAGER_TURNS = 64
"""Quick callbacks in workers after which the leader runs them itself again."""
SLOW_SECONDS = 0.002
"""A callback that blocks for longer than this, and than it computes, is not quick."""
LONG_SECONDS = 0.05
"""Nor is one that takes longer, whatever it does; and a broadcast keeps the lead no longer."""
TURN_EVENTS = 64
"""Events of one source that are handled before the others have their turn."""
READ_AHEAD = 16
"""Messages that may wait for their callback before their source is no longer read."""
READ_AHEAD_SIZE = 4096
"""Characters or bytes of a message behind which none is read before its callback is done."""
LONGEST_POLL = 3600.0
"""Seconds; systems refuse to wait for a month."""
SPARE_SECONDS = 10.0
"""How long a thread without work stays."""

# Kinds of events beside those of `Protocol`
REQUEST = 0x12  # a complete request: to be checked
DECIDE = 0x13  # the same, for a callback to decide on
OPENED = 0x14  # the WebSocket is open
GONE = 0x15  # TCP has ended
URGENT = frozenset((PING, PONG, PAUSE, REQUEST))
"""Kinds that need no callback: the leader handles them itself."""
BARRIERS = frozenset((DECIDE, CLOSE, FAIL, GONE))
"""Kinds behind which nothing is read until they are handled."""

RESUME = 4  # beside READ and WRITE: to go on with a source's events
FORGOTTEN = -1
"""Interest of a source that may no longer be polled."""

logger = logging.getLogger("ws")


class Source:
    """What a loop takes care of. The leader calls its methods, and the monitor `on_writable`.

    None may block. By inbox and events:

        neither   the leader polls it, and runs its callbacks
        events    resumed: parsing is about to go on there
        inbox     a worker runs what is in it, and the leader adds to it
        both      the inbox is full or ends in a barrier: not read until `_work` resumes it
    """

    __slots__ = ("events", "inbox", "interest", "tick")
    protocol: Protocol  # for those that have events

    def __init__(self) -> None:
        self.interest = 0  # what is polled for: READ, WRITE
        self.tick: int | None = None  # when it is due, see `Timers`
        self.inbox: deque[Event] | None = None  # for its worker; None: it has none
        self.events: Iterator[Event] | None = None  # still to parse, once the inbox is empty

    @property
    def forgotten(self) -> bool:
        """Whether it is never served again."""
        return self.interest == FORGOTTEN

    def fileno(self) -> int:
        raise NotImplementedError

    def on_readable(self) -> Iterator[Event] | None:
        """Return the events in what can be read now, parsed one by one as they are asked for."""
        return None

    def on_writable(self) -> None:
        """Write what waits for it."""

    def on_deadline(self, now: float) -> None:
        """Do what is due; *now* is time.monotonic()."""

    def on_fault(self) -> None:
        """One of the others raised: a bug, or no memory."""


class Loop:
    """Serves sources with a leader, a monitor, and at most *threads* threads inside callbacks.

    run(source, event): called for each event; may block, must not raise.
    """

    def __init__(self, run: Callable[[Any, Event], None], threads: int) -> None:
        self._run, self._threads = run, threads  # defence: thread-count
        self.more = False
        """Whether the leader has more input of one read to process: writes wait for its end."""
        self.broadcasting = False
        """Whether a message was sent to MANY since the last poll; set by who does."""
        self.corked: deque[Any] = deque()
        """The sources with such writes; `on_writable` is called for each, soon."""

        self._poller = EpollPoller() if hasattr(select, "epoll") else Poller()
        self._interest_lock = threading.Lock()  # guards the interest of all sources
        self._polling = self._closed = False
        self._timers = Timers()
        self._resumed: dict[Any, None] = {}  # in order: sources the leader serves without a poll

        self._work_lock = threading.Lock()  # guards inboxes and what follows
        self._alive: set[int] = set()
        self._hired = 0  # threads, from when they are started until they find nothing to do
        self._spares: list[threading.Lock] = []  # one per waiting thread, released to wake it
        self._vacant = False  # the lead is free for the next thread that asks
        self._short_of_threads = False  # a thread could not be started
        self._runnable: deque[Any] = deque()  # sources whose inbox waits for a worker
        self._workers = 0
        self._eager = 0
        self._inline = True  # whether the leader runs callbacks itself
        self._stopped = False

        self._lead: list[Event] = []
        self._batch = self._turn = 0  # polls, and sources served with callbacks, so far
        self._serving: tuple[Any, Any] = (None, None)
        self._hurry = False  # one turn takes long already, by inflating, say
        self._dozing = False  # the monitor sleeps
        self._rouse = threading.Event()
        self._waker = _Waker()
        self.poll(self._waker, READ)

    def start(self) -> None:
        """Start the leader and the monitor. Raises RuntimeError if there can't be more threads."""
        threading.Thread(target=self._watch, name="ws-monitor", daemon=True).start()
        with self._work_lock:
            self._vacant = True
            self._employ()

    def stop(self) -> None:
        """Make all threads end, each as soon as its callbacks have returned. Takes no lock."""
        self._stopped = True
        self._rouse.set()
        self._wake()

    @property
    def threads(self) -> int:
        """How many threads there are now, the monitor included."""
        return len(self._alive) + 1

    def inside(self) -> bool:
        """Say whether the calling thread is one of the loop's, and so inside a callback."""
        return threading.get_ident() in self._alive

    def poll(self, source: Source, add: int = 0, remove: int = 0) -> None:
        """Change what *source* is polled for. From any thread."""
        with self._interest_lock:
            old = source.interest
            new = old & ~remove | add
            if old in (FORGOTTEN, new) or self._closed:
                return
            self._poller.change(source, old, new)
            source.interest = new
        if not self._poller.live:
            self._wake()

    def forget(self, source: Source) -> None:
        """Never poll *source* again; to be called before its descriptor is closed."""
        with self._interest_lock:
            if source.interest > 0 and not self._closed:
                self._poller.change(source, source.interest, 0)
            source.interest = FORGOTTEN
        self.schedule(source, None)

    def schedule(self, source: Source, deadline: float | None) -> None:
        """Have `source.on_deadline` called at *deadline* (time.monotonic), or never, for None.

        A source has one deadline, the last that was set. It is never early, and up to a
        sixteenth of a second late. Takes no lock, so even a signal handler may call it.
        """
        self._timers.changes[source] = deadline
        self._wake()

    def resume(self, source: Source) -> None:
        """Have the leader go on with the events of *source*, in its turn. From any thread."""
        self._resumed[source] = None
        self._wake()

    def _wake(self) -> None:
        if self._polling:
            self._waker.wake()

    # The leader

    def _lead_on(self) -> Any:
        """Poll and serve until the loop stops, or return the source that the lead was lost with."""
        lead: list[Event] = []
        self._lead = lead
        timers, resumed, wait = self._timers, self._resumed, self._poller.wait
        while not self._stopped:
            self._polling = True
            if timers.changes:
                timers.apply()
            timeout = min(timers.due - time.monotonic(), LONGEST_POLL)
            ready = wait(0 if resumed or timeout < 0 else timeout)
            self._polling = False
            self._batch += 1
            self.broadcasting = False
            now = time.monotonic()
            if now >= timers.due:
                self._expire(now)
            if resumed:
                ready[:0] = [(source, RESUME) for source in list(resumed)]
            for source, mask in ready:
                stuck = self._serve(source, mask, lead)
                if stuck is not None:
                    return stuck
        return None

    def _serve(self, source: Any, mask: int, lead: list[Event]) -> Any:
        """Serve one source; return it if the lead was lost meanwhile, else None."""
        try:
            if mask & WRITE:
                source.on_writable()
            events = None
            if mask & RESUME:
                del self._resumed[source]
                events, source.events = source.events, None
            elif mask & READ and source.events is None:  # what was read comes first
                events = source.on_readable()
            if events is not None:
                return self._dispatch(source, events, lead)
        except Exception:
            logger.exception("error in serving %r", source)
            source.on_fault()  # defence: fault-ends-source
        return None

    def _dispatch(self, source: Any, events: Iterator[Event], lead: list[Event]) -> Any:
        """Run the callbacks for *events*, here or in a worker; return as `_serve` does."""
        self._serving = source, events
        run, put_down, take_up = self._run, lead.append, lead.pop
        protocol = source.protocol
        watched = False
        turn = TURN_EVENTS
        for event in events:
            self.more = protocol.more
            if event[0] > BINARY and event[0] in URGENT:
                if event[0] == PAUSE:
                    turn = 1
                else:
                    run(source, event)
            elif self._inline and source.inbox is None:
                if not watched:
                    watched = True
                    self._turn += 1
                    if self._dozing:
                        self._rouse.set()
                put_down(event)
                run(source, event)
                try:
                    take_up()
                except IndexError:
                    return source
            elif not self._enqueue(source, event, events):
                self.poll(source, remove=READ)
                break
            turn -= 1
            if not turn or self._hurry:  # defence: turns
                self._hurry = False
                source.events = events
                self._resumed[source] = None
                break
        else:
            if not source.interest & READ:
                self.poll(source, add=READ)
        self.more = False
        if self.corked:
            self._uncork()
        return None

    def _uncork(self) -> None:
        with suppress(IndexError):  # the monitor took the last one
            while self.corked:
                self._serve(self.corked.popleft(), WRITE, self._lead)

    def _enqueue(self, source: Any, event: Event, events: Iterator[Event]) -> bool:
        """Leave *event* to a worker; False if *events* have to wait until it is done."""
        with self._work_lock:
            if source.inbox is None:
                source.inbox = deque()
                self._runnable.append(source)
                if self._workers + len(self._runnable) <= self._threads:
                    self._employ()
            source.inbox.append(event)
            if (
                event[0] not in BARRIERS
                and len(source.inbox) < READ_AHEAD
                and len(event[1] or ()) <= READ_AHEAD_SIZE  # defence: read-ahead
            ):
                return True
            source.events = events  # under the lock, or a quick worker wouldn't resume
            return False

    def _expire(self, now: float) -> None:
        for source in self._timers.expired(now):
            try:
                source.on_deadline(now)
            except Exception:
                logger.exception("error at a deadline of %r", source)
                source.on_fault()

    # The monitor

    def _watch(self) -> None:
        batch = turn = quiet = 0
        since = 0.0
        while not self._stopped:
            if quiet >= IDLE_LOOKS:
                self._dozing = True
                if turn == self._turn:  # still no callback
                    self._rouse.wait()
                self._rouse.clear()
                self._dozing = False
            time.sleep(MONITOR_INTERVAL)
            lasting = batch == self._batch and not self._polling
            now = time.monotonic()
            since = since if lasting else now
            stuck = lasting and self._turn - turn < SLOW_TURNS
            # defence: broadcast-lead
            stuck = stuck and not (self.broadcasting and now - since < LONG_SECONDS)
            self._hurry = lasting
            busy = lasting or turn != self._turn or self._short_of_threads
            quiet = 0 if busy else quiet + 1
            batch, turn = self._batch, self._turn
            if stuck and self._take_lead():  # defence: new-leader
                self.more = False
                self._uncork()
            if self._short_of_threads:
                with self._work_lock:
                    self._employ()

    def _take_lead(self) -> bool:
        """Take the lead from a leader inside a callback: that callback's thread is a worker now."""
        with self._work_lock:
            try:
                event = self._lead.pop()
            except IndexError:  # the leader isn't in a callback
                return False
            source, events = self._serving
            source.events = events
            source.inbox = deque()
            if event[0] in BARRIERS:  # `_work` resumes it once that is handled
                self.poll(source, remove=READ)
            else:
                self._resumed[source] = None
            self._workers += 1
            self._set_eager(EAGER_TURNS)
            self._vacant = True
            self._employ()
            return True

    def _set_eager(self, turns: int) -> None:
        self._eager = turns
        self._inline = not turns and self._workers < self._threads

    # Threads

    def _employ(self) -> None:
        """Wake or start a thread, if the lead is vacant or a source runnable."""
        self._short_of_threads = False
        if not self._vacant and not self._runnable:
            return
        if self._spares:
            self._spares.pop().release()
            return
        if self._hired > self._threads:  # one of them is about to ask for work
            return
        try:
            threading.Thread(target=self._thread, name="ws-thread", daemon=True).start()
            self._hired += 1
        except RuntimeError:  # there can't be more threads now: the monitor tries again
            self._short_of_threads = True
            self._rouse.set()

    def _thread(self) -> None:
        me = threading.get_ident()
        self._alive.add(me)
        for job in iter(self._next_job, None):
            job()
        self._alive.discard(me)

    def _next_job(self) -> Callable[[], None] | None:
        """Wait for something to do; None if there was nothing for long, or never will be."""
        while True:
            with self._work_lock:
                if self._vacant:
                    self._vacant = False
                    return self._lead_then_work
                if self._runnable and self._workers < self._threads:
                    self._workers += 1
                    self._set_eager(self._eager)
                    return functools.partial(self._work, self._runnable.popleft())
                if self._stopped:
                    self._hired -= 1
                    return None
                spare = threading.Lock()
                spare.acquire()
                self._spares.append(spare)
            if not spare.acquire(timeout=SPARE_SECONDS):
                with self._work_lock:
                    if spare in self._spares:
                        self._spares.remove(spare)
                        self._hired -= 1
                        return None

    def _lead_then_work(self) -> None:
        try:
            source = self._lead_on()
        except Exception:
            logger.exception("error in the loop, which goes on")
            time.sleep(MONITOR_INTERVAL)
            with self._work_lock:
                self._vacant = True
            return
        if source is not None:
            self._work(source)
            return
        with self._work_lock:
            while self._spares:
                self._spares.pop().release()
        with self._interest_lock:
            self._closed = True
            self._poller.close()
            self._waker.close()

    def _work(self, source: Any) -> None:
        """Run the callbacks for a source's inbox; as one of `_workers`, which it then leaves."""
        slow: bool | None = None  # whether the last callback was; None before the first
        while True:
            with self._work_lock:
                if slow is not None:
                    self._set_eager(EAGER_TURNS if slow else max(0, self._eager - 1))
                if not source.inbox or (slow is not None and self._runnable):
                    if source.inbox:  # others have waited longer
                        self._runnable.append(source)
                    else:
                        source.inbox = None
                    self._workers -= 1
                    self._set_eager(self._eager)
                    break
                event = source.inbox.popleft()
            started, before = time.monotonic(), time.thread_time()
            self._run(source, event)
            elapsed, computed = time.monotonic() - started, time.thread_time() - before
            slow = elapsed - computed > max(SLOW_SECONDS, computed) or elapsed > LONG_SECONDS
        if source.inbox is None and source.events is not None:
            self.resume(source)


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
        with suppress(OSError):  # full: awake already; closed: the loop has ended
            self._writer.send(b"\0")

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

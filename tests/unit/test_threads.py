"""Leader/Followers without a server: sources whose events are made up.

What takes real connections is in tests/live/test_threads.py.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from tests.support.waiting import DEADLINE, LATE, eventually
from ws.engine.daemon import DaemonThread
from ws.engine.loop import Loop, Source
from ws.engine.poll import READ
from ws.engine.shares import Share
from ws.engine.threads import LeaderFollowers
from ws.wire.events import ASK_ONREQUEST, BARRIER, PING, TEXT

LIMIT = 4
ALWAYS = 10**9
"""Quick callbacks in workers before the leader would run some again."""


class Script(Source):
    """A source without a descriptor. Its events come out of a generator."""

    protocol = SimpleNamespace(more=False)

    def __init__(self, handle=None):
        super().__init__()
        self.share = Share()
        self.handled = []
        self._handle = handle

    def handle(self, event):
        if self._handle:
            self._handle(event)
        self.handled.append(event)


class ScriptLoop(Loop):
    """A loop whose only descriptor is its own."""

    def watch(self, source, add=0, remove=0):
        if isinstance(source, Script):
            source.interest = source.interest & ~remove | add
        else:
            super().watch(source, add, remove)


@pytest.fixture
def loop():
    return ScriptLoop()


@pytest.fixture
def threads(loop):
    threads = LeaderFollowers(loop, LIMIT)
    yield threads
    threads.stop()
    eventually(lambda: not threads.count - 1)


def serve(loop, *sources):
    """Have the leader continue with the sources, each with its events."""
    for source, events in sources:
        source.events = iter(events)
        loop.resume(source)


def test_events_are_handled_in_order(loop, threads):
    threads.start()
    source, events = Script(), [(TEXT, str(n)) for n in range(1000)]
    serve(loop, (source, events))
    eventually(lambda: len(source.handled) == 1000)
    assert source.handled == events


def test_a_handler_is_inside(loop, threads):
    seen = []
    threads.start()
    serve(loop, (Script(lambda event: seen.append(threads.inside())), [(TEXT, "")]))
    eventually(lambda: seen)
    assert seen == [True]
    assert not threads.inside()


def test_the_leader_handles_inline_events_although_a_worker_is_busy(loop, threads):
    gate = threading.Event()
    threads.start()
    threads.workers.distrust(ALWAYS)
    source = Script(lambda event: event[0] == PING or gate.wait(DEADLINE))
    serve(loop, (source, [(TEXT, ""), (PING, b"")]))
    eventually(lambda: source.handled)
    assert source.handled == [(PING, b"")]
    gate.set()
    eventually(lambda: len(source.handled) == 2)


def test_more_sources_than_threads_take_turns(loop, threads):
    gate, inside, most = threading.Event(), [], []

    def handle(event):
        inside.append(1)
        most.append(len(inside))
        gate.wait(DEADLINE)
        inside.pop()

    threads.start()
    threads.workers.distrust(ALWAYS)
    sources = [Script(handle) for _ in range(3 * LIMIT)]
    serve(loop, *[(source, [(TEXT, "")]) for source in sources])
    eventually(lambda: len(inside) == LIMIT)
    gate.set()
    eventually(lambda: all(source.handled for source in sources))
    assert max(most) == LIMIT


class Watched(Script):
    """A worker that looks for events to resume waits for the leader to leave some just then."""

    def __init__(self, handle):
        self._events = None
        self.leader = None
        self.looked, self.left = threading.Event(), threading.Event()
        super().__init__(handle)

    @property
    def events(self):
        if self.leader not in (None, threading.get_ident()) and not self.looked.is_set():
            self.looked.set()
            self.left.wait(0.1)  # in vain: the leader needs the lock that the worker holds
        return self._events

    @events.setter
    def events(self, events):
        self._events = events
        if events is not None and self.looked.is_set():
            self.left.set()


def test_nothing_is_parsed_past_a_barrier_that_follows_the_end_of_a_worker(loop, threads):
    """The worker's look for events to resume, and the resumption, are one step for the leader."""
    order = []

    def handle(event):
        if event[0] & BARRIER:
            source.left.wait(DEADLINE)
            time.sleep(0.05)  # for the leader to parse on, if it would
        order.append(f"handled {event[1]}")

    def events():
        source.leader = threading.get_ident()
        yield TEXT, "one"
        assert source.looked.wait(DEADLINE)
        yield ASK_ONREQUEST, "barrier"
        order.append("parsed on")
        yield TEXT, "two"

    source = Watched(handle)
    threads.start()
    threads.workers.distrust(ALWAYS)
    serve(loop, (source, events()))
    eventually(lambda: len(source.handled) == 3)
    assert order == ["handled one", "handled barrier", "parsed on", "handled two"]


class TakenSlowly(Script):
    """Its worker's callback returns while the leader is about to take the events."""

    def __init__(self, handle):
        self._events = None
        self.looked = threading.Event()
        super().__init__(handle)

    @property
    def events(self):
        events = self._events
        if events is not None and self.inbox is not None and not self.looked.is_set():
            self.looked.set()
            time.sleep(0.1)
        return events

    @events.setter
    def events(self, events):
        self._events = events


def test_a_source_is_resumed_once_for_the_same_events(loop, threads):
    """Otherwise parsing goes on past the barrier that is the next event."""
    order = []

    def handle(event):
        if event[1] == "one":
            source.looked.wait(DEADLINE)
        elif event[1] == "barrier":
            time.sleep(0.05)  # for the leader to parse on, if it would
        order.append(f"handled {event[1]}")

    def events():
        yield TEXT, "one"
        yield ASK_ONREQUEST, "barrier"
        order.append("parsed on")
        yield TEXT, "two"

    source = TakenSlowly(handle)
    threads.start()
    serve(loop, (source, events()))
    eventually(lambda: len(source.handled) == 3)
    assert order == ["handled one", "handled barrier", "parsed on", "handled two"]


def test_a_source_that_drains_while_its_worker_is_busy_is_read_again(loop, threads):
    gate = threading.Event()
    threads.start()
    threads.workers.distrust(ALWAYS)
    source = Script(lambda event: gate.wait(DEADLINE))
    serve(loop, (source, [(TEXT, "")]))
    eventually(lambda: source.interest & READ and source.current)
    loop.watch(source, remove=READ)  # as when it is congested
    loop.drained(source)
    eventually(lambda: source.interest & READ)
    gate.set()


def test_the_monitor_wakes_up_for_callbacks_that_waited_for_congested_sources(
    loop, threads, monkeypatch
):
    """Only the monitor sees that one blocks, so that the other may begin."""
    monkeypatch.setattr("ws.engine.workers.UNSEEN", 1)
    first, second, inside = threading.Event(), threading.Event(), []

    def handle(event):
        if event[1] == "second":
            inside.append(1)
        gate = second if event[1] == "second" else first
        gate.wait(DEADLINE)

    threads.start()
    threads.workers.distrust(ALWAYS)
    sources = [Script(handle), Script(handle)]
    serve(loop, *[(source, [(TEXT, "first"), (TEXT, "second")]) for source in sources])
    eventually(lambda: all(source.current and source.inbox for source in sources))
    for source in sources:
        source.congested = True
    first.set()
    eventually(lambda: threads.monitor.asleep and all(source.handled for source in sources))
    for source in sources:
        source.congested = False
        loop.drained(source)
    eventually(lambda: len(inside) == 2, LATE)
    second.set()


@pytest.mark.parametrize("seed", range(3))
def test_any_events_are_handled_in_order_and_barriers_hold(loop, threads, seed):
    """Under a tiny switch interval, with handlers that block at times."""
    chance = random.Random(seed)
    faults = []

    def slow(event):
        if event[1].startswith("slow"):
            time.sleep(0.012)

    def made_up(source):
        for number in range(60):
            kind = chance.choice([TEXT, TEXT, TEXT, ASK_ONREQUEST])
            event = kind, f"{chance.choice(['quick'] * 9 + ['slow'])} {number}"
            yield event
            if kind & BARRIER and source.handled[-1:] != [event]:
                faults.append(event)

    sources = [Script(slow) for _ in range(10)]
    threads.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        serve(loop, *[(source, made_up(source)) for source in sources])
        eventually(lambda: all(len(source.handled) == 60 for source in sources))
    finally:
        sys.setswitchinterval(interval)
    assert faults == []
    for source in sources:
        assert [int(text.split()[1]) for _, text in source.handled] == list(range(60))


@pytest.mark.parametrize("failing", ["ws-monitor", "ws-thread"])
def test_a_start_without_threads_leaves_nothing(loop, threads, monkeypatch, failing):
    start = DaemonThread.start

    def refuse(thread):
        if thread.name == failing:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(DaemonThread, "start", refuse)
    with pytest.raises(RuntimeError):
        threads.start()
    assert threads.count == 1
    eventually(lambda: not [t for t in threading.enumerate() if t.name == failing])


def test_an_error_in_the_loop_does_not_end_it(loop, threads, monkeypatch, caplog):
    poll, errors = loop.poll, iter([OSError("a bug")])

    def fail_once():
        for error in errors:
            raise error
        return poll()

    monkeypatch.setattr(loop, "poll", fail_once)
    source = Script()
    threads.start()
    serve(loop, (source, [(TEXT, "")]))
    eventually(lambda: source.handled)
    assert "error in the loop, which continues" in caplog.text


def test_an_error_in_parsing_ends_its_source_only(loop, threads, caplog):
    ended = []

    class Broken(Script):
        def on_fault(self):
            ended.append(self)

    def broken():
        yield TEXT, "one"
        raise MemoryError

    source, other = Broken(), Script()
    threads.start()
    serve(loop, (source, broken()), (other, [(TEXT, "")]))
    eventually(lambda: ended and other.handled)
    assert ended == [source]
    assert "error in serving" in caplog.text


def test_an_error_in_taking_account_keeps_no_frames_back(loop, threads, caplog):
    """Those that were written before the callback that blocks."""
    gate, written = threading.Event(), threading.Event()

    class Broken(Script):
        protocol = SimpleNamespace(more=True)

        def settle(self):
            raise MemoryError

    class Written(Script):
        def on_writable(self):
            written.set()

    def block(event):
        assert threads.batch.add(Written()), "the batch is open"
        gate.wait(DEADLINE)

    threads.start()
    serve(loop, (Broken(block), [(ASK_ONREQUEST, "")]))
    assert written.wait(DEADLINE)
    gate.set()
    eventually(lambda: "error in the monitor" in caplog.text)

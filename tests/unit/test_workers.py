"""Workers without a server: how many callbacks run at a time, and whose come first.

The leader's part is in test_threads.py.
"""

from __future__ import annotations

import threading
import time
from collections import deque

import pytest

from tests.support.waiting import DEADLINE, LATE, eventually
from ws.engine import job, workers
from ws.engine.loop import DRAINED, Loop, Source
from ws.engine.shares import FairQueue, Share, Turns
from ws.engine.workers import INLINE_AFTER, TRUSTED_AFTER, UNSEEN, Workers
from ws.wire.events import CONNECTION_LOST, OPENED, TEXT

LIMIT = 16
EVENT = TEXT, ""


class Script(Source):
    """A source whose callback is a function."""

    def __init__(self, share, handle):
        super().__init__()
        self.share = share
        self.run = handle

    def handle(self, event):
        self.run()


class Pool:
    """Workers whose leader does nothing, and callbacks that wait for a gate."""

    def __init__(self):
        self.led, self.gate, self.inside = threading.Event(), threading.Event(), deque()
        self.shares = [Share("a"), Share("b")]
        queue = FairQueue(LIMIT, lambda: False)
        self.loop = Loop()
        self.workers = Workers(self.loop, LIMIT, queue, self.lead, Turns())
        self.workers.start()

    def lead(self):
        self.led.wait(DEADLINE)

    def wait(self):
        self.inside.append(1)
        self.gate.wait(DEADLINE)
        self.inside.pop()

    def call(self, callback, share=0, times=1):
        """Leave callbacks to the workers, each of a source of its own."""
        for _ in range(times):
            self.workers.enqueue(Script(self.shares[share], callback), EVENT, iter(()))

    def check(self, crowded=False, seconds=0.0):
        """Let the workers be checked as the monitor does, after so many seconds."""
        time.sleep(seconds)
        self.workers.check(crowded)

    def end(self):
        self.gate.set()
        self.workers.stop()
        self.led.set()
        eventually(lambda: not self.workers.count)


@pytest.fixture
def pool():
    pool = Pool()
    yield pool
    pool.end()


def test_several_begin_before_it_is_seen_what_they_do(pool):
    pool.call(pool.wait, times=UNSEEN + 4)
    eventually(lambda: len(pool.inside) == UNSEEN)
    assert pool.workers.unsettled
    pool.check(seconds=0.01)
    eventually(lambda: len(pool.inside) == UNSEEN + 4)
    pool.check(seconds=0.01)
    assert not pool.workers.unsettled, "the monitor may sleep"


def test_while_the_interpreter_is_crowded_they_begin_one_at_a_time(pool, monkeypatch):
    monkeypatch.setattr(workers, "SEEN_LATE_SECONDS", DEADLINE)
    pool.check(crowded=True)
    pool.call(pool.wait, times=3)
    eventually(lambda: pool.inside)
    pool.check(crowded=True, seconds=0.05)
    assert len(pool.inside) == 1


def test_those_that_block_are_seen_although_the_interpreter_is_crowded(pool, monkeypatch):
    monkeypatch.setattr(workers, "SEEN_LATE_SECONDS", 0.02)
    pool.check(crowded=True)
    pool.call(pool.wait, times=3)
    eventually(lambda: pool.check(crowded=True, seconds=0.01) or len(pool.inside) == 3)


@pytest.fixture
def computing(monkeypatch):
    """Have all callbacks seem to compute, however little of a core they get."""
    monkeypatch.setattr(job, "computing_time", lambda clock: time.monotonic())


def test_a_share_that_computes_for_long_lets_others_begin(pool, monkeypatch, computing):
    monkeypatch.setattr(workers, "ENDLESS_SECONDS", DEADLINE)
    pool.check(crowded=True)
    pool.call(pool.wait, times=2)
    eventually(lambda: pool.inside)
    pool.call(pool.wait, share=1)
    eventually(lambda: pool.check(crowded=True, seconds=0.01) or len(pool.inside) == 2)
    pool.check(crowded=True, seconds=0.1)
    assert len(pool.inside) == 2, "but not another one of its own"


def test_a_share_that_computes_without_end_gets_another_worker(pool, monkeypatch, computing):
    monkeypatch.setattr(workers, "ENDLESS_SECONDS", 0.1)
    pool.check(crowded=True)
    pool.call(pool.wait)
    eventually(lambda: pool.inside)
    pool.call(pool.wait)
    eventually(lambda: pool.check(crowded=True, seconds=0.01) or len(pool.inside) == 2)
    pool.gate.set()
    eventually(lambda: not pool.shares[0].workers)
    assert pool.shares[0].endless == 0


def test_callbacks_that_block_do_not_wait_for_each_other_after_one_that_computed(pool):
    """All clients may be of one share, as behind a proxy."""

    def compute():
        pool.check(crowded=True)
        end = time.thread_time() + 0.005
        while time.thread_time() < end:
            pass

    pool.call(compute)
    eventually(lambda: pool.shares[0].width == 1)
    pool.check(crowded=False)
    pool.call(pool.wait, times=3)
    eventually(lambda: pool.check(seconds=0.01) or len(pool.inside) == 3, LATE)


def test_one_share_leaves_workers_to_others(pool):
    pool.call(pool.wait, times=2 * LIMIT)
    eventually(lambda: pool.check(seconds=0.01) or len(pool.inside) == LIMIT - LIMIT // 4)
    pool.call(pool.wait, share=1)
    eventually(lambda: len(pool.inside) == LIMIT - LIMIT // 4 + 1)


def test_a_check_takes_no_longer_for_many_that_wait(pool, monkeypatch):
    pool.call(pool.wait, times=LIMIT // 2)
    pool.call(pool.wait, share=1, times=LIMIT // 2)
    eventually(lambda: pool.check(seconds=0.01) or len(pool.inside) == LIMIT)
    pool.call(pool.wait, times=100)
    looks, has_any = [], FairQueue.__bool__
    monkeypatch.setattr(FairQueue, "__bool__", lambda queue: looks.append(1) or has_any(queue))
    pool.check()
    assert len(looks) < 10
    assert not pool.workers.waiting, "no closer look is needed, as none of them may begin"


def test_whose_callbacks_the_leader_runs(pool):
    """Those of shares that were quick for long enough, if anybody's callbacks block."""
    workers, (bad, good) = pool.workers, pool.shares
    assert workers.trust_needed == 0
    pool.call(lambda: time.sleep(0.02))
    eventually(lambda: bad.trust < 0)
    assert workers.trust_needed == TRUSTED_AFTER
    for _ in range(TRUSTED_AFTER):
        pool.call(lambda: None, share=1)
    eventually(lambda: good.trust == TRUSTED_AFTER)
    assert bad.trust < 0 < workers.trust_needed <= good.trust
    for _ in range(INLINE_AFTER - TRUSTED_AFTER):
        pool.call(lambda: None, share=1)
    eventually(lambda: workers.trust_needed == 0)
    assert bad.trust < 0, "it has to be quick itself"


def test_the_leader_runs_none_while_the_limit_is_reached(pool):
    pool.call(pool.wait, times=LIMIT // 2)
    pool.call(pool.wait, share=1, times=LIMIT // 2)
    eventually(lambda: pool.check(seconds=0.01) or len(pool.inside) == LIMIT)
    assert pool.workers.trust_needed > 10**9
    pool.gate.set()
    eventually(lambda: pool.workers.trust_needed < 10**9)


def test_a_congested_source_is_left_until_it_has_drained(pool):
    handled, filled = [], threading.Event()
    source = Script(pool.shares[0], lambda: handled.append(filled.wait(DEADLINE)))
    source.congested = True
    for _ in range(3):
        pool.workers.enqueue(source, EVENT, iter(()))
    filled.set()
    eventually(lambda: handled)
    time.sleep(0.05)
    assert len(handled) == 1, "a reply that isn't read holds a worker for one message at most"
    source.congested = False
    pool.loop.drained(source)
    assert pool.workers.take_events(source, DRAINED) is None
    eventually(lambda: len(handled) == 3)
    eventually(lambda: source.inbox is None)


def test_a_source_that_drains_just_then_is_not_forgotten(pool):
    handled, filled = [], threading.Event()

    class Draining(Script):
        looks = 0

        @property
        def congested(self):
            self.looks += 1
            return self.looks == 1

        @congested.setter
        def congested(self, congested):
            pass

    source = Draining(pool.shares[0], lambda: handled.append(filled.wait(DEADLINE)))
    for _ in range(2):
        pool.workers.enqueue(source, EVENT, iter(()))
    filled.set()
    eventually(lambda: len(handled) == 2)


def test_messages_of_a_condemned_source_are_dropped(pool):
    """Other events are not: onopen is called for each onclose."""
    handled = []

    class Noting(Script):
        def handle(self, event):
            self.run()
            handled.append(event)

    source = Noting(pool.shares[0], lambda: pool.gate.wait(DEADLINE))
    first, opened, lost = (TEXT, "first"), (OPENED, None), (CONNECTION_LOST, None)
    pool.workers.enqueue(source, first, iter(()))
    eventually(lambda: source.current)
    for event in (opened, (TEXT, "second"), (TEXT, "third")):
        pool.workers.enqueue(source, event, iter(()))
    source.condemned = True
    pool.workers.enqueue(source, lost, iter(()))
    pool.gate.set()
    eventually(lambda: source.inbox is None)
    assert handled == [first, opened, lost]


def test_a_worker_outlives_an_error_in_taking_account(pool, caplog):
    class Broken(Script):
        def settle(self):
            raise MemoryError

    handled = []
    source = Broken(pool.shares[0], lambda: handled.append(1))
    for _ in range(2):
        pool.workers.enqueue(source, EVENT, iter(()))
    eventually(lambda: len(handled) == 2)
    eventually(lambda: source.inbox is None and not source.share.workers)
    assert "error in taking account" in caplog.text

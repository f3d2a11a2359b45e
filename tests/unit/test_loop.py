"""The loop's wait, and what ends it."""

from __future__ import annotations

import threading
import time

import pytest

from tests.support.waiting import DEADLINE, eventually
from ws.engine.loop import Loop, Source


class Timer(Source):
    def __init__(self) -> None:
        super().__init__()
        self.called = threading.Event()

    def on_deadline(self, now: float) -> None:
        self.called.set()


@pytest.fixture
def loop():
    """Give a loop that a thread polls."""
    loop = Loop()
    over = threading.Event()

    def lead():
        while not over.is_set():
            for source, _ in loop.poll():
                source.on_readable()

    leader = threading.Thread(target=lead)
    leader.start()
    yield loop
    over.set()
    while leader.is_alive():
        loop.wake()
        leader.join(0.01)
    loop.close()


def test_a_later_deadline_does_not_end_the_wait_but_is_kept(loop):
    first, second = Timer(), Timer()
    now = time.monotonic()
    loop.schedule(first, now + 0.5)
    eventually(lambda: loop.polling and loop._timers.due < now + 1)
    rounds = loop.rounds
    loop.schedule(second, now + 0.7)
    assert loop.polling
    assert loop.rounds == rounds
    assert first.called.wait(DEADLINE)
    assert second.called.wait(DEADLINE)
    assert time.monotonic() >= now + 0.7


def test_an_earlier_deadline_ends_the_wait(loop):
    last, first = Timer(), Timer()
    loop.schedule(last, time.monotonic() + 100)
    eventually(lambda: loop.polling and loop._timers.due < time.monotonic() + 101)
    loop.schedule(first, time.monotonic())
    assert first.called.wait(DEADLINE)
    assert not last.called.is_set()


def test_a_removal_is_kept(loop):
    """The source must not be held until the next deadline."""
    last = Timer()
    loop.schedule(last, time.monotonic() + 100)
    eventually(lambda: loop._timers.due < time.monotonic() + 101)
    loop.schedule(last, None)
    eventually(lambda: loop._timers.due > time.monotonic() + 1000)

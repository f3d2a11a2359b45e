"""The monitor: when it takes the lead from a callback, and when it takes threads for computing."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from tests.support.waiting import eventually
from ws.engine import monitor as module
from ws.engine.clocks import ThreadTimes, computing_time, thread_clock
from ws.engine.monitor import Monitor
from ws.engine.workers import LONG_SECONDS


class Times:
    """A thread that computes, and waits for a core, for these parts of its time."""

    def __init__(self, computes, waits):
        self._parts = computes, waits

    def read(self):
        return tuple(part * time.monotonic() for part in self._parts)


def watch(leader, crowded, monkeypatch, broadcasting=False):
    """Return how a leader is replaced that stays in a callback."""
    monkeypatch.setattr(module, "CROWDED_SECONDS", -1 if crowded else 1e9)
    replaced = []
    loop = SimpleNamespace(rounds=1, polling=False)
    workers = SimpleNamespace(waiting=False, unsettled=False, check=lambda crowded: None)
    monitor = Monitor(loop, workers, lambda *how: replaced.append(how))
    monitor.leader, monitor.broadcasting = leader, broadcasting
    monitor.start()
    eventually(lambda: replaced)
    monitor.stop()
    return replaced[0]


@pytest.mark.parametrize("crowded", [False, True])
def test_a_callback_that_blocks_loses_the_lead(monkeypatch, crowded):
    """Whether others compute meanwhile doesn't matter."""
    computes, _ = watch(Times(0.1, 0.1), crowded, monkeypatch)
    assert computes is False


def test_a_callback_that_computes_keeps_the_lead_for_a_while(monkeypatch):
    computes, seconds = watch(Times(1, 0), True, monkeypatch)
    assert computes is True
    assert seconds >= LONG_SECONDS


def test_a_callback_that_waits_for_a_core_keeps_the_lead_for_a_while(monkeypatch):
    """The machine is busy: this callback is neither blocking nor to blame."""
    computes, seconds = watch(Times(0.1, 0.9), False, monkeypatch)
    assert computes is True
    assert seconds >= LONG_SECONDS


def test_a_callback_that_computes_without_the_interpreter_loses_the_lead(monkeypatch):
    """Another thread can lead at the same time, as while it hashes a password."""
    computes, _ = watch(Times(1, 0), False, monkeypatch)
    assert computes is False


def test_a_broadcast_keeps_the_lead_for_a_while(monkeypatch):
    _, seconds = watch(Times(0, 0), False, monkeypatch, broadcasting=True)
    assert seconds >= LONG_SECONDS


def test_an_error_does_not_end_it(monkeypatch, caplog):
    """It goes on watching, and asks about the workers again."""
    checks = []

    def check(crowded):
        checks.append(crowded)
        if len(checks) == 1:
            raise OSError("a bug")

    workers = SimpleNamespace(waiting=True, unsettled=True, check=check)
    monitor = Monitor(SimpleNamespace(rounds=1, polling=True), workers, None)
    monitor.start()
    eventually(lambda: len(checks) > 2)
    monitor.stop()
    assert "error in the monitor, which continues" in caplog.text


# Clocks


def test_times_tell_computing_from_waiting():
    times = ThreadTimes()
    try:
        computed, delayed = times.read()
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass
        time.sleep(0.05)
        after, delayed_after = times.read()
    finally:
        times.close()
    if thread_clock(threading.get_ident()) is not None:
        assert 0.05 <= after - computed < 0.1
    assert delayed_after >= delayed


def test_times_are_zero_where_the_system_tells_nothing(monkeypatch):
    monkeypatch.delattr(time, "pthread_getcpuclockid", raising=False)

    def fail(*arguments):
        raise FileNotFoundError

    monkeypatch.setattr("os.open", fail)
    times = ThreadTimes()
    monkeypatch.undo()
    assert times.read() == (0, 0)
    times.close()


def test_a_clock_of_a_thread_that_has_ended():
    assert computing_time(None) == 0
    assert computing_time(-(1 << 30)) == 0

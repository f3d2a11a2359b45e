"""Deadlines: the last one that was set counts, and is kept within a tick, never early."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws.engine.timers import TICKS_PER_SECOND, Timers

TICK_SECONDS = 1 / TICKS_PER_SECOND


class Source:
    def __init__(self):
        self.tick = None
        self.forgotten = False


@pytest.fixture
def timers():
    return Timers()


@pytest.fixture
def source():
    return Source()


def set_deadlines(timers, deadlines):
    timers.changes.update(deadlines)
    timers.apply()


class Changes(dict):
    """Notes what is due when the last change has been applied: others may set a deadline then."""

    def __init__(self, timers, deadlines):
        super().__init__(deadlines)
        self.timers, self.due = timers, None

    def __len__(self):
        length = super().__len__()
        if not length:
            self.due = self.timers.due
        return length


def test_while_changes_are_applied_no_old_deadline_is_due(timers, source):
    """Or the wait for a deadline that was put off would outlast another one that is set now."""
    set_deadlines(timers, {source: 1000.0})
    timers.changes = changes = Changes(timers, {source: 5000.0})
    timers.apply()
    assert changes.due == math.inf
    assert timers.due > 5000


def test_without_deadlines_nothing_is_due(timers):
    timers.apply()
    assert timers.due == math.inf
    assert list(timers.expired(1e9)) == []


@pytest.mark.parametrize("deadline", [0, 10, 10.01, 10 + TICK_SECONDS, 1e6])
def test_a_deadline_is_kept_within_a_tick_and_never_early(timers, source, deadline):
    set_deadlines(timers, {source: deadline})
    assert deadline < timers.due <= deadline + TICK_SECONDS
    assert list(timers.expired(deadline)) == []
    assert list(timers.expired(timers.due)) == [source]
    assert timers.due == math.inf, "once"
    assert list(timers.expired(1e9)) == []


@pytest.mark.parametrize("first, last", [(10, 20), (20, 10), (10, 10)])
def test_the_last_one_that_was_set_counts(timers, source, first, last):
    set_deadlines(timers, {source: first})
    set_deadlines(timers, {source: last})
    assert list(timers.expired(last)) == []
    assert timers.due == last + TICK_SECONDS
    assert list(timers.expired(timers.due)) == [source]


def test_one_may_be_taken_back(timers, source):
    set_deadlines(timers, {source: 10})
    set_deadlines(timers, {source: None})
    set_deadlines(timers, {source: None})
    assert timers.due == math.inf
    assert list(timers.expired(1e9)) == []


def test_changes_count_once_they_are_applied(timers, source):
    timers.changes[source] = 10
    assert timers.due == math.inf
    timers.apply()
    assert timers.due < math.inf
    assert not timers.changes


def test_a_source_that_is_forgotten_gets_no_deadline(timers, source):
    set_deadlines(timers, {source: 10})
    source.forgotten = True
    set_deadlines(timers, {source: 20})
    assert timers.due == math.inf


def test_many_sources_share_a_wake_up(timers):
    sources = {Source(): 10 + n / 1000 for n in range(60)}
    set_deadlines(timers, sources)
    assert set(timers.expired(timers.due)) == set(sources)


def test_the_earlier_ones_come_first(timers):
    late, early = Source(), Source()
    set_deadlines(timers, {late: 20, early: 10})
    assert list(timers.expired(15)) == [early]
    assert timers.due == 20 + TICK_SECONDS
    assert list(timers.expired(1e9)) == [late]


def test_a_source_may_set_its_next_deadline_when_one_passes(timers, source):
    set_deadlines(timers, {source: 10})
    for expired in timers.expired(11):
        timers.changes[expired] = 20
    assert timers.due == 20 + TICK_SECONDS
    assert list(timers.expired(1e9)) == [source]


@pytest.mark.parametrize("changed", [20, None])
def test_a_deadline_that_is_changed_while_others_are_kept_is_not_kept_early(timers, changed):
    """As when a shutdown begins to close clients, just when one of them should be pinged."""
    sources = {Source(), Source()}
    set_deadlines(timers, dict.fromkeys(sources, 10))
    served = []
    for source in timers.expired(11):
        served.append(source)
        (other,) = sources - {source}
        timers.changes[other] = changed
    assert len(served) == 1
    assert list(timers.expired(1e9)) == ([] if changed is None else list(sources - set(served)))


steps = st.lists(
    st.tuples(st.integers(0, 4), st.floats(0, 3) | st.none()) | st.floats(0, 2), max_size=30
)


@given(steps)
def test_any_steps_do_as_the_model(steps):
    """A step sets or takes back a source's deadline, or lets time pass."""
    timers, now = Timers(), 0.0
    sources = [Source() for _ in range(5)]
    deadlines = {}
    for step in steps:
        if isinstance(step, tuple):
            source, delay = sources[step[0]], step[1]
            timers.changes[source] = deadlines[source] = None if delay is None else now + delay
            timers.apply()
            continue
        now += step
        expired = list(timers.expired(now)) if now >= timers.due else []
        for source in expired:
            assert deadlines.pop(source) < now
        assert len(set(expired)) == len(expired)
        for deadline in deadlines.values():
            assert deadline is None or deadline > now - 1.01 * TICK_SECONDS

"""The outbox: which messages are accepted, and who waits for that.

The socket, the loop and the connection are stand-ins: a test chooses what the socket answers.
"""

from __future__ import annotations

import math
import ssl
import threading
from types import SimpleNamespace

import pytest

from tests.support.lines import CLOSE, LIMIT, Attempt, Line, Plain
from tests.support.waiting import DEADLINE, eventually
from ws.engine.backlog import CHUNK_BYTES

PATIENCE = 10.0


@pytest.fixture
def line():
    return Line(Plain(), patience=PATIENCE)


@pytest.fixture
def clock(monkeypatch):
    """The time, which passes only if a test says so."""
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    for module in ("backlog", "outbox"):
        monkeypatch.setattr(f"ws.engine.{module}.time", clock)
    return clock


def test_nothing_is_accepted_before_the_101():
    line = Line(Plain(), opened=False)
    assert not line.outbox.put(b"early")
    assert not line.outbox.put_control(b"early")


def test_a_client_of_a_server_has_no_response_to_write():
    line = Line(Plain(), opened=False)
    with line.outbox.lock:
        line.outbox.open(b"", None)
    assert line.outbox.put(b"x")
    assert line.wire.calls == [b"x"]


# The high-water mark


def test_corked_frames_are_no_reason_to_refuse_one(line):
    line.batch.open = True
    for _ in range(5):
        assert line.outbox.put(b"x" * (LIMIT // 2))
    assert not line.outbox.waiters


def test_one_message_of_any_size_may_wait():
    line = Line(Plain(), patience=0)
    line.block()
    assert line.outbox.put(b"x" * 10 * LIMIT)
    assert not line.outbox.put(b"")
    assert line.outbox.queued == 10 * LIMIT


def test_below_the_mark_a_message_of_any_size_may_wait():
    line = Line(Plain(), patience=0)
    line.fill(LIMIT - 1)
    assert line.outbox.put(b"x" * LIMIT)
    assert not line.outbox.put(b"")
    assert line.outbox.messages_out == 2, "what isn't accepted doesn't count"


def test_at_the_mark_the_source_is_congested_until_it_has_drained(line):
    line.fill(LIMIT - 1)
    assert not line.congested
    line.outbox.put(b"x")
    assert line.congested
    line.unblock(1)
    assert (line.congested, line.drains) == (False, 1)


@pytest.mark.parametrize("end", [Line.end, Line.dispose])
def test_a_source_is_not_congested_by_what_will_never_leave(line, end):
    line.fill()
    line.wire.error = ConnectionResetError()
    end(line)
    assert (line.congested, line.drains) == (False, 1)


def test_what_waits_for_the_peer_to_be_read_does_not_congest(line):
    """Or it would never be read."""
    line.block(ssl.SSLWantReadError())
    line.outbox.put(b"x" * LIMIT)
    line.outbox.put(b"x")
    assert not line.congested


TOO_SLOW = f"took too long to read: {LIMIT} bytes were waiting for it"


def test_a_burst_of_any_size_is_no_reason_to_cut(line, clock):
    line.fill()
    for _ in range(100):
        assert line.outbox.put(b"x" * LIMIT, cut=True)
    assert line.outbox.queued == 101 * LIMIT
    line.unblock()
    assert line.wire.sent == b"-" * LIMIT + b"x" * 100 * LIMIT
    assert line.cuts == []


@pytest.mark.parametrize("cut", [False, True])
def test_a_client_that_takes_nothing_for_so_long_is_too_slow(line, clock, cut):
    line.fill()
    clock.now += PATIENCE - 1
    line.block()
    line.flush()
    assert line.outbox.put(b"", cut=cut)
    clock.now += 1
    assert not line.outbox.put(b"x", cut=cut)
    assert line.cuts == [TOO_SLOW] * cut


def test_a_client_is_too_slow_only_over_the_high_water_mark(line, clock):
    line.fill(LIMIT - 1)
    clock.now += 2 * PATIENCE
    assert line.outbox.put(b"x", cut=True)
    assert not line.outbox.put(b"x", cut=True)


def test_a_client_that_makes_progress_is_not_cut(line, clock):
    line.fill()
    for _ in range(100):
        clock.now += PATIENCE - 1
        line.unblock(1)
        assert line.outbox.put(b"x", cut=True)
        assert line.outbox.queued == LIMIT
    assert line.cuts == []


def test_what_leaves_the_systems_buffer_is_progress(line, clock):
    """The system may have taken megabytes at once, and takes no more for long."""
    line.wire.room = line.wire.untaken_bytes = 100
    assert line.outbox.put(b"x" * (LIMIT + 101), cut=True)
    for untaken in (90, 80, 70):
        clock.now += PATIENCE - 1
        line.wire.untaken_bytes = untaken
        assert line.outbox.put(b"", cut=True)
    clock.now += PATIENCE
    assert not line.outbox.put(b"", cut=True)
    assert line.cuts[0].startswith("took too long to read")


def test_a_client_that_never_catches_up_misses_messages_if_it_is_not_to_be_cut(line, clock):
    line.fill()
    for _ in range(2):
        clock.now += PATIENCE / 2
        line.unblock(1)
        assert line.outbox.put(b"x")
    assert not line.outbox.put(b"xxx")
    line.unblock()
    line.fill()
    assert line.outbox.put(b"xxx"), "it has caught up"
    assert line.cuts == []


def test_a_client_that_is_leaving_is_not_cut_for_being_slow(line):
    line.fill()
    line.close()
    assert not line.outbox.put(b"x", cut=True)
    assert line.cuts == []


def test_a_client_that_is_just_coming_is_not_cut_either():
    """The client is listed already, so a broadcast may reach it before the 101 is written."""
    line = Line(Plain(), opened=False, patience=0)
    assert not line.outbox.put(b"early", cut=True)
    assert line.cuts == []


def test_a_send_waits_for_room(line):
    line.fill()
    attempt = Attempt(line.outbox.put, b"x", DEADLINE)
    eventually(lambda: line.outbox.waiters)
    line.unblock(0)
    eventually(lambda: line.outbox.waiters)  # still
    line.unblock()
    assert attempt.get() is True
    assert line.wire.sent == b"-" * LIMIT + b"x"
    assert line.outbox.waiters == 0


def test_a_send_waits_only_so_long(line):
    line.fill()
    for _ in range(2):
        assert line.outbox.put(b"x", 0.01, cut=True)
    assert line.outbox.waiters == 0
    assert line.outbox.queued == LIMIT + 2
    assert line.cuts == []


def test_a_send_that_waits_for_a_client_that_takes_nothing_cuts_it():
    line = Line(Plain(), patience=0.05)
    line.fill()
    assert not line.outbox.put(b"x", DEADLINE, cut=True)
    assert line.outbox.waiters == 0
    assert line.cuts == [TOO_SLOW]


@pytest.mark.parametrize("end", [Line.close, Line.end, Line.dispose])
def test_a_send_does_not_wait_for_a_client_that_leaves(line, end):
    line.fill()
    attempt = Attempt(line.outbox.put, b"x", DEADLINE)
    eventually(lambda: line.outbox.waiters)
    end(line)
    assert attempt.get() is False
    assert line.cuts == []


# Memory


def test_what_waits_counts_as_held(line):
    assert line.budget.total == 0
    line.fill()
    assert LIMIT <= line.budget.total == line.held < LIMIT + 100
    line.unblock()
    assert line.budget.total == 0


@pytest.mark.parametrize("end", [Line.dispose, lambda line: line.block(OSError())])
def test_what_is_dropped_does_not_count(line, end):
    line.fill()
    end(line)
    line.flush()
    assert line.budget.total == 0


def test_what_is_dropped_before_it_was_written_was_never_held(line):
    line.batch.open = True
    line.outbox.put(b"x" * LIMIT)
    line.dispose()
    assert line.outbox.queued == line.budget.total == 0


def test_a_signal_handler_drops_nothing_of_which_a_part_is_being_written(line):
    send = line.wire.send

    def interrupted(data):
        line.wire.send = send
        line.dispose()
        assert line.outbox.waiting
        return send(data)

    line.fill()
    line.wire.send = interrupted
    line.unblock()
    assert line.wire.sent == b"-" * LIMIT
    assert line.budget.total == 0


def test_when_too_much_waits_the_client_is_cut(line):
    line = Line(Plain(), limit=math.inf, budget=10 * LIMIT)
    line.fill()
    while not line.cuts:
        assert line.budget.total <= 10 * LIMIT
        assert line.outbox.put(b"x" * LIMIT)
    assert line.cuts[0].startswith("held too much memory: ")
    assert line.budget.total == 0
    assert not line.outbox.put(b"x")


def test_a_client_has_made_progress_when_something_has_left(line, clock):
    assert line.outbox.moved() < clock.now, "nothing waits"
    line.fill()
    filled = clock.now
    clock.now += 5
    assert line.outbox.moved() == filled
    line.unblock(1)
    assert line.outbox.moved() == clock.now
    clock.now += 5
    line.wire.untaken_bytes = -1
    assert line.outbox.moved() == clock.now, "the peer has taken something from the system"


# Pings and pongs


def test_control_frames_are_left_out_while_much_waits(line):
    line.outbox.limit = math.inf
    line.fill(CHUNK_BYTES)
    assert line.outbox.put_control(b"ping")
    assert not line.outbox.put_control(b"ping")
    line.unblock()
    assert line.outbox.put_control(b"pong")
    assert line.outbox.messages_out == 1


def test_control_frames_do_not_wait_for_the_high_water_mark(line):
    line.fill()
    assert line.outbox.put_control(b"ping")


# Endings


def test_close_leaves_after_all_that_waits(line):
    line.fill()
    line.close()
    assert not line.outbox.put(b"too late")
    line.unblock()
    assert line.wire.sent == b"-" * LIMIT + CLOSE


def test_what_is_disposed_of_writes_nothing_more(line):
    line.fill()
    line.dispose()
    line.unblock()
    assert line.wire.sent == b""
    assert not line.outbox.put(b"x")


def test_the_outbox_of_a_forked_child_accepts_nothing(line):
    """Although its lock may be held by a thread that isn't in the child."""
    held = line.outbox.lock
    line.outbox.orphan()
    with held:
        thread = threading.Thread(target=line.outbox.put, args=(b"x",))
        thread.start()
        thread.join(DEADLINE)
        assert not thread.is_alive()
    assert (line.outbox.put(b"x"), line.wire.calls) == (False, [])

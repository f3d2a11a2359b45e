"""The outbox: messages in fragments, compressed ones, and those for many clients."""

from __future__ import annotations

import math
import threading

import pytest

from tests.support.lines import CLOSE, LIMIT, Attempt, Line, Plain
from tests.support.waiting import DEADLINE, eventually
from ws.engine.backlog import Backlog
from ws.wire.frames import BINARY, CONT, TEXT, frame
from ws.wire.message import encode, fragments


@pytest.fixture
def line():
    return Line(Plain())


# Fragments


def test_fragments_leave_as_they_come(line):
    sent = []

    def chunks():
        for chunk in ("one", "two"):
            yield chunk
            sent.append(line.wire.sent)

    assert line.outbox.put_fragments(fragments(chunks()), 0)
    first, second, last = frame(TEXT, b"one", False), frame(CONT, b"two", False), frame(CONT, b"")
    assert sent == [first, first + second]
    assert line.wire.sent == first + second + last
    assert line.outbox.messages_out == 1


def test_other_messages_wait_for_the_last_fragment(line):
    other, joined = encode("other"), list(fragments(["joi", "ned"]))

    def frames():
        yield frame(TEXT, b"one", False)
        assert line.outbox.put(other)
        assert line.outbox.put_fragments(joined, 0)
        assert line.outbox.queued == len(other) + sum(map(len, joined))
        assert line.outbox.put_control(b"ping")
        yield frame(CONT, b"")

    assert line.outbox.put_fragments(frames(), 0)
    expected = [frame(TEXT, b"one", False), b"ping", frame(CONT, b""), other, *joined]
    assert line.wire.sent == b"".join(expected)
    assert line.outbox.queued == 0
    assert line.outbox.messages_out == 3


def test_what_is_queued_may_be_asked_while_the_last_fragment_leaves(line, monkeypatch):
    """As `stats` does, in another thread. Its look is interrupted here."""
    begun, last, ended = threading.Event(), threading.Event(), threading.Event()

    def frames():
        yield frame(TEXT, b"one", False)
        begun.set()
        last.wait(DEADLINE)
        yield frame(CONT, b"")

    def send():
        line.outbox.put_fragments(frames(), 0)
        ended.set()

    def end_first(backlog):
        last.set()
        return ended.wait(DEADLINE)

    threading.Thread(target=send).start()
    assert begun.wait(DEADLINE)
    monkeypatch.setattr(Backlog, "__bool__", end_first, raising=False)
    assert line.outbox.queued == 0
    last.set()
    assert ended.wait(DEADLINE)


def test_a_close_waits_for_all_that_was_accepted_before(line):
    def frames():
        yield frame(TEXT, b"one", False)
        assert line.outbox.put(b"accepted")
        assert not line.outbox.closing
        line.close()
        assert line.outbox.closing
        assert not line.outbox.put(b"refused")
        yield frame(CONT, b"")

    assert line.outbox.put_fragments(frames(), 0)
    assert line.wire.sent == frame(TEXT, b"one", False) + frame(CONT, b"") + b"accepted" + CLOSE


def test_a_message_that_breaks_off_is_the_last_one(line):
    def frames():
        yield frame(TEXT, b"one", False)
        assert line.outbox.put(b"waits")
        raise KeyError

    with pytest.raises(KeyError):
        line.outbox.put_fragments(frames(), 0)
    assert line.wire.sent == frame(TEXT, b"one", False)
    assert not line.outbox.accepting
    assert line.outbox.queued == 0
    line.close()
    assert line.wire.sent.endswith(CLOSE)


def test_a_message_that_breaks_off_after_a_close(line):
    def frames():
        yield frame(TEXT, b"one", False)
        line.close()
        raise KeyError

    with pytest.raises(KeyError):
        line.outbox.put_fragments(frames(), 0)
    assert line.wire.sent == frame(TEXT, b"one", False) + CLOSE


def test_a_message_that_breaks_off_before_it_begins_harms_nobody(line):
    def frames():
        assert line.outbox.put(b"waits")
        raise KeyError
        yield

    with pytest.raises(KeyError):
        line.outbox.put_fragments(frames(), 0)
    assert line.wire.sent == b"waits"
    assert line.outbox.accepting


def test_a_fragment_waits_for_room_but_not_for_what_waits_for_it(line):
    first, more = frame(BINARY, b"x" * (LIMIT // 2), False), frame(CONT, b"y" * LIMIT, False)
    last = frame(CONT, b"z")

    def frames():
        line.block()
        yield first
        assert line.outbox.put(b"held" * 100)
        yield more
        yield last

    attempt = Attempt(line.outbox.put_fragments, frames(), DEADLINE)
    eventually(lambda: line.outbox.waiters)
    line.unblock()
    assert attempt.get() is True
    assert line.wire.sent == first + more + last + b"held" * 100
    assert line.outbox.queued == 0


def test_fragments_cut_a_client_that_is_too_slow():
    line = Line(Plain(), patience=0.01)
    line.fill()
    assert not line.outbox.put_fragments(fragments(["x"]), DEADLINE)
    assert line.cuts == [f"took too long to read: {LIMIT} bytes were waiting for it"]


def test_fragments_wait_for_room_only_so_long(line):
    line.fill()
    frames = list(fragments(["x"]))
    assert line.outbox.put_fragments(frames, 0.01)
    line.unblock()
    assert line.wire.sent == b"-" * LIMIT + b"".join(frames)


@pytest.mark.parametrize("cut", [False, True])
def test_all_broadcasts_during_a_fragmented_message_are_held_back(cut):
    """Here the server is slow, not the peer."""
    line = Line(Plain(), patience=0)

    def frames():
        yield frame(TEXT, b"one", False)
        for number in range(100):
            assert line.outbox.put(b"%03d" % number * LIMIT, cut=cut)
        assert line.outbox.queued == 300 * LIMIT
        yield frame(CONT, b"")

    assert line.outbox.put_fragments(frames(), 0)
    held = b"".join(b"%03d" % number * LIMIT for number in range(100))
    assert line.wire.sent == frame(TEXT, b"one", False) + frame(CONT, b"") + held
    assert line.cuts == []


def test_a_client_that_takes_nothing_is_too_slow_during_a_fragmented_message_as_well():
    line = Line(Plain(), patience=0)

    def frames():
        yield frame(TEXT, b"one", False)
        line.block()
        yield frame(CONT, b"x" * LIMIT, False)
        assert not line.outbox.put(b"x", cut=True)
        yield frame(CONT, b"")

    assert not line.outbox.put_fragments(frames(), 0)
    assert line.cuts[0].startswith("took too long to read")


def test_fragments_for_a_client_that_has_left_are_not_taken(line):
    def frames():
        yield frame(TEXT, b"one", False)
        line.dispose()
        yield frame(CONT, b"two", False)
        raise AssertionError("nobody wants it")

    assert not line.outbox.put_fragments(frames(), 0)
    assert line.wire.sent == frame(TEXT, b"one", False)


def test_the_answer_to_a_close_leaves_although_a_fragment_waits_for_room(line):
    """The peer has sent its close frame, so it isn't slow: it reads no more of the message."""
    line.fill()
    attempt = Attempt(line.outbox.put_fragments, fragments(["x"]), DEADLINE)
    eventually(lambda: line.outbox.waiters)
    with line.outbox.lock:
        line.close()
        line.end()
    assert attempt.get() is False
    assert line.cuts == []
    line.unblock()
    assert line.wire.sent == b"-" * LIMIT + CLOSE
    assert line.outbox.ending


def test_a_lost_socket_forgets_all_but_what_waits_for_fragments(line):
    def frames():
        yield frame(TEXT, b"one", False)
        assert line.outbox.put(b"held")
        line.block(ConnectionResetError())
        yield frame(CONT, b"two", False)
        assert line.outbox.queued == 4
        yield frame(CONT, b"")

    line.outbox.put_fragments(frames(), 0)
    assert set(line.cuts) == {"connection lost"}
    assert line.outbox.queued == 0


def test_the_end_does_not_wait_for_the_last_fragment(line):
    """The peer's close frame was answered, so it reads no more of the message."""

    def frames():
        yield frame(TEXT, b"one", False)
        assert line.outbox.put(b"held")
        line.close()
        line.end()
        yield frame(CONT, b"")
        raise AssertionError("nobody wants it")

    assert not line.outbox.put_fragments(frames(), 0)
    assert line.wire.sent == frame(TEXT, b"one", False) + CLOSE
    assert line.outbox.ending
    assert line.outbox.queued == 0


# More about fragments


def test_a_second_fragmented_message_cuts_a_client_that_is_too_slow():
    line = Line(Plain(), patience=0)

    def frames():
        yield frame(TEXT, b"x" * LIMIT, False)
        assert not line.outbox.put_fragments(fragments(["y"]), 0)
        yield frame(CONT, b"")

    line.block()
    line.outbox.put_fragments(frames(), 0)
    assert line.cuts[0].startswith("took too long to read: ")


def test_who_waits_for_room_learns_of_the_end_of_a_fragmented_message(line):
    """The messages that it held back are written then, which makes room."""
    started, goes_on = threading.Event(), threading.Event()

    def frames():
        yield frame(TEXT, b"one", False)
        assert line.outbox.put(b"x" * LIMIT)
        started.set()
        goes_on.wait(DEADLINE)
        yield frame(CONT, b"")

    fragmented = Attempt(lambda: line.outbox.put_fragments(frames(), DEADLINE))
    assert started.wait(DEADLINE)
    attempt = Attempt(lambda: line.outbox.put(b"y" * 100, 10 * DEADLINE))
    eventually(lambda: line.outbox.waiters)
    goes_on.set()
    assert attempt.get() is True
    assert fragmented.get() is True


def test_what_waits_for_a_fragmented_message_counts_as_held():
    line = Line(Plain(), budget=10 * LIMIT)

    def frames():
        yield frame(TEXT, b"one", False)
        while not line.cuts:
            assert LIMIT * 10 >= line.budget.total >= line.outbox.queued
            assert line.outbox.put(b"x" * LIMIT)
        assert line.budget.total == 0
        yield frame(CONT, b"")

    assert not line.outbox.put_fragments(frames(), 0)
    assert line.cuts[0].startswith("held too much memory: ")
    assert line.budget.total == 0


def test_nothing_counts_when_all_has_left(line):
    def frames():
        yield frame(TEXT, b"one", False)
        assert line.outbox.put(b"x" * LIMIT)
        yield frame(CONT, b"")

    assert line.outbox.put_fragments(frames(), 0)
    assert line.budget.total == 0


def test_what_waits_for_a_fragmented_message_is_not_for_the_client_to_read(line):
    """So keepalive doesn't take a slow generator for a client that reads nothing."""

    def frames():
        yield frame(TEXT, b"one", False)
        line.outbox.put(b"x" * 100)
        assert (line.outbox.queued, line.outbox.waiting) == (100, 0)
        yield frame(CONT, b"")

    assert line.outbox.put_fragments(frames(), 0)


# Calls inside calls


@pytest.mark.timeout(10)
@pytest.mark.parametrize("corked", [False, True])
def test_a_signal_handler_does_not_wait_for_the_writing_that_it_has_interrupted(line, corked):
    """It runs in the same thread, so nothing leaves before it returns."""
    send = line.wire.send
    accepted = []

    def interrupted(data):
        line.wire.send = send
        accepted.append(line.outbox.put(b"x", DEADLINE))
        return send(data)

    if corked:
        line.batch.open = True
        assert line.outbox.put(b"-" * LIMIT)
    else:
        line.fill()
    line.wire.send = interrupted
    line.wire.room = math.inf
    line.flush()
    assert accepted == [True]
    assert line.wire.sent == b"-" * LIMIT + b"x"

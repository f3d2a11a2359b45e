"""The outbox: when data is written, which data waits, and who waits for that.

The socket, the loop and the connection are stand-ins: a test chooses what the socket answers.
"""

from __future__ import annotations

import math
import socket
import ssl
from types import SimpleNamespace

import pytest

from tests.support.lines import CLOSE, LIMIT, SWITCHING, TLS, Attempt, Line, Plain
from tests.support.waiting import DEADLINE, eventually
from ws.engine.cork import WriteBatch
from ws.engine.outbox import CHUNK_BYTES, TLS_RECORD_BYTES, Outbox
from ws.engine.poll import READ, WRITE


@pytest.fixture(autouse=True)
def shutdown(monkeypatch):
    """Note the half-close of a socket, which has no descriptor here."""

    def note(client, how):
        assert how == socket.SHUT_WR
        client.ended.append("half-close")

    stand_in = SimpleNamespace(socket=SimpleNamespace(shutdown=note), SHUT_WR=socket.SHUT_WR)
    monkeypatch.setattr("ws.engine.outbox.socket", stand_in)


@pytest.fixture
def line():
    return Line(Plain())


# Writing


def test_nothing_is_accepted_before_the_101():
    outbox = Outbox(Plain(), None, None, WriteBatch(print), LIMIT, print)
    assert not outbox.put(b"early")
    assert not outbox.put_control(b"early")


def test_messages_are_written_at_once(line):
    assert line.outbox.put(b"one")
    assert line.outbox.put(b"twothree", messages=2)
    assert line.wire.calls == [b"one", b"twothree"]
    assert line.outbox.bytes_out == len(SWITCHING) + 11
    assert line.outbox.messages_out == 3
    assert line.outbox.queued == line.watched == 0


def test_what_the_socket_does_not_take_waits(line):
    line.wire.room = 4
    for message in (b"one", b"two", b"three"):
        assert line.outbox.put(message)
    assert line.wire.sent == b"onet"
    assert line.outbox.queued == 7
    assert line.watched == WRITE
    line.unblock(3)
    assert line.wire.sent == b"onetwot"
    assert (line.outbox.queued, line.watched) == (4, WRITE)
    line.unblock()
    assert line.wire.sent == b"onetwothree"
    assert (line.outbox.queued, line.watched) == (0, 0)
    assert line.outbox.put(b"four")
    assert line.wire.sent.endswith(b"four")


def test_a_socket_that_is_full_is_not_asked_again_until_the_loop_says_so(line):
    line.fill(1)
    asked = []
    line.wire.send = asked.append
    for _ in range(5):
        assert line.outbox.put(b"x")
        assert line.outbox.put(b"x" * (LIMIT // 10))
        assert line.outbox.put_control(b"x")
    assert asked == []


@pytest.mark.parametrize(
    "error", [ConnectionResetError(), ValueError("it is closed"), ssl.SSLError()]
)
@pytest.mark.parametrize("queued", [False, True])
def test_a_socket_that_fails_is_cut(line, error, queued):
    if queued:
        line.fill(10)
    line.block(error)
    line.outbox.put(b"x")
    line.flush()
    assert line.cuts == ["connection lost"]
    assert (line.outbox.queued, line.watched) == (0, 0)


def test_many_small_frames_leave_in_few_calls(line):
    line.outbox.limit = math.inf
    line.fill(1)
    messages = [bytes([65 + n % 26]) * 1000 for n in range(150)]
    for message in messages:
        assert line.outbox.put(message)
    line.unblock()
    assert line.wire.sent == b"-" + b"".join(messages)
    assert len(line.wire.calls) == 3
    assert max(map(len, line.wire.calls)) <= CHUNK_BYTES


def test_a_large_message_among_small_ones(line):
    line.outbox.limit = math.inf
    line.fill(1)
    messages = [b"a" * 10, b"b" * 2 * CHUNK_BYTES, b"c" * 10]
    for message in messages:
        assert line.outbox.put(message)
    line.unblock()
    assert line.wire.sent == b"-" + b"".join(messages)
    assert [len(call) for call in line.wire.calls] == [11, 2 * CHUNK_BYTES, 10]


def test_large_messages_leave_without_a_copy_of_what_waits(line):
    line.outbox.limit = math.inf
    line.wire.room = 10
    message = b"x" * 3 * CHUNK_BYTES
    assert line.outbox.put(message)
    for room in (1, CHUNK_BYTES, 5):
        line.unblock(room)
    line.unblock()
    assert line.wire.sent == message


# TLS


def test_tls_gets_no_large_pieces():
    """OpenSSL takes a piece as a whole, and reports no progress within it."""
    line = Line(TLS(), limit=math.inf)
    message = bytes(range(256)) * 1024
    assert line.outbox.put(message)
    assert line.wire.sent == message
    assert max(map(len, line.wire.calls)) <= CHUNK_BYTES + TLS_RECORD_BYTES
    assert min(map(len, line.wire.calls)) > TLS_RECORD_BYTES, "nor tiny ones"


def test_openssl_that_wants_to_write_is_watched_for_that():
    line = Line(TLS())
    line.block(ssl.SSLWantWriteError())
    assert line.outbox.put(b"x")
    assert line.watched == WRITE
    assert line.outbox.blocked == WRITE
    line.unblock()
    assert (line.wire.sent, line.watched) == (b"x", 0)


def test_openssl_that_wants_to_read_is_not_watched_for_writing():
    """The socket is writable all the time, so the loop would spin."""
    line = Line(TLS())
    line.block(ssl.SSLWantReadError())
    for _ in range(2):
        assert line.outbox.put(b"x")
        assert line.watched == 0
        assert line.outbox.blocked == READ, "the connection flushes it after a read"
    line.flush()
    assert line.watched == 0
    line.unblock()
    assert line.wire.sent == b"xx"
    assert not line.outbox.blocked


def test_openssl_may_change_its_mind():
    line = Line(TLS())
    line.block(ssl.SSLWantWriteError())
    line.outbox.put(b"x")
    line.block(ssl.SSLWantReadError())
    line.flush()
    assert (line.watched, line.outbox.blocked) == (0, READ)
    line.block(ssl.SSLWantWriteError())
    line.flush()
    assert (line.watched, line.outbox.blocked) == (WRITE, WRITE)


# The cork


def test_under_the_cork_frames_leave_together(line):
    line.batch.open = True
    for message in (b"one", b"two", b"three"):
        assert line.outbox.put(message)
    assert line.wire.calls == []
    assert line.outbox.queued == 11
    line.batch.close()
    assert line.wire.calls == [b"onetwothree"]
    assert line.outbox.queued == line.watched == 0


def test_many_bytes_do_not_wait_for_the_end_of_the_read(line):
    line.outbox.limit = math.inf
    line.batch.open = True
    for _ in range(3):
        assert line.outbox.put(b"x" * (CHUNK_BYTES // 2))
    assert len(line.wire.sent) == CHUNK_BYTES
    assert line.outbox.put(b"y" * (CHUNK_BYTES + 1))
    assert line.outbox.queued == 0


def test_a_frame_that_may_have_missed_the_cork_is_written(line):
    """The batch is closed by another thread between the look at it and the call of `add`."""

    def close_then_add(source):
        line.batch.close()
        return WriteBatch.add(line.batch, source)

    line.outbox = Outbox(
        line.wire,
        line,
        line,
        SimpleNamespace(open=True, add=close_then_add),
        LIMIT,
        line.cuts.append,
    )
    line.outbox.open(b"x", None)
    assert line.wire.sent == b"x"


def test_a_blocked_socket_is_left_alone_under_the_cork(line):
    line.outbox.limit = math.inf
    line.fill(1)
    line.batch.open = True
    assert line.outbox.put(b"x")
    assert line.outbox.put(b"x" * 2 * CHUNK_BYTES)
    assert line.wire.calls == []
    assert not line.batch.waiting, "the loop writes it"


def test_corked_frames_are_no_reason_to_refuse_one(line):
    line.batch.open = True
    for _ in range(5):
        assert line.outbox.put(b"x" * (LIMIT // 2))
    assert not line.outbox.waiters


# The high-water mark


def test_one_message_of_any_size_may_wait(line):
    line.block()
    assert line.outbox.put(b"x" * 10 * LIMIT)
    assert not line.outbox.put(b"")
    assert line.outbox.queued == 10 * LIMIT


def test_below_the_mark_a_message_of_any_size_may_wait(line):
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


def test_a_client_without_room_is_cut_on_demand(line):
    line.fill()
    assert not line.outbox.put(b"x")
    assert line.cuts == [], "not without"
    assert not line.outbox.put(b"x", cut=True)
    assert line.cuts == [f"took too long to read: {LIMIT} bytes were waiting for it"]


def test_a_client_that_is_leaving_is_not_cut_for_being_slow(line):
    line.fill()
    line.close()
    assert not line.outbox.put(b"x", cut=True)
    assert line.cuts == []


def test_a_client_that_is_just_coming_is_not_cut_either():
    """The client is listed already, so a broadcast may reach it before the 101 is written."""
    cuts = []
    outbox = Outbox(Plain(), None, None, WriteBatch(print), LIMIT, cuts.append)
    assert not outbox.put(b"early", cut=True)
    assert cuts == []


def test_a_message_leaves_with_those_before_it_when_the_batch_is_closed_for_the_last_event(line):
    """Nothing waits for the end of a callback that follows no other."""
    line.batch.open = True
    assert line.outbox.put(b"one")
    line.batch.open = False
    assert line.outbox.put(b"two")
    assert line.wire.sent == b"onetwo"


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
        assert not line.outbox.put(b"x", 0.01)
    assert line.outbox.waiters == 0


@pytest.mark.parametrize("end", [Line.close, Line.end, Line.dispose])
def test_a_send_does_not_wait_for_a_client_that_leaves(line, end):
    line.fill()
    attempt = Attempt(line.outbox.put, b"x", DEADLINE)
    eventually(lambda: line.outbox.waiters)
    end(line)
    assert attempt.get() is False
    assert line.cuts == []


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


@pytest.mark.parametrize(
    "wire, ended", [(Plain, ["half-close"]), (TLS, ["close_notify", "half-close"])]
)
def test_the_end_is_a_half_close_after_all_that_waits(wire, ended):
    line = Line(wire())
    line.fill()
    line.end()
    assert line.outbox.ending
    assert line.wire.ended == []
    line.unblock(LIMIT - 1)
    assert line.wire.ended == []
    line.unblock()
    assert line.wire.ended == ended


def test_the_end_is_at_once_if_nothing_waits(line):
    line.end()
    assert line.wire.ended == ["half-close"]
    assert not line.outbox.put(b"too late")


def test_a_peer_that_has_left_may_refuse_a_close_notify():
    line = Line(TLS())

    def refuse():
        raise OSError

    line.wire.unwrap = refuse
    line.end()
    assert line.wire.ended == ["half-close"]


def test_what_is_disposed_of_writes_nothing_more(line):
    line.fill()
    line.dispose()
    line.unblock()
    assert line.wire.sent == b""
    assert not line.outbox.put(b"x")

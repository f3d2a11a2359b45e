"""Writing: when data is written, which data waits, and how the sending direction ends.

The socket, the loop and the connection are stand-ins: a test chooses what the socket answers.
"""

from __future__ import annotations

import math
import socket
import ssl
from types import SimpleNamespace

import pytest

from tests.support.lines import LIMIT, SWITCHING, TLS, Attempt, Line, Plain
from tests.support.waiting import DEADLINE, eventually
from ws.engine.backlog import CHUNK_BYTES, TLS_RECORD_BYTES
from ws.engine.cork import WriteBatch
from ws.engine.poll import READ, WRITE


@pytest.fixture(autouse=True)
def shutdown(monkeypatch):
    """Note the half-close of a socket, which has no descriptor here."""

    def note(client, how):
        assert how == socket.SHUT_WR
        client.ended.append("half-close")

    stand_in = SimpleNamespace(socket=SimpleNamespace(shutdown=note), SHUT_WR=socket.SHUT_WR)
    monkeypatch.setattr("ws.engine.writer.socket", stand_in)


@pytest.fixture
def line():
    return Line(Plain())


# Writing


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


def test_what_the_system_holds_is_not_taken_yet(line):
    line.outbox.put(b"x" * 10)
    line.wire.untaken_bytes = 4
    assert line.outbox.taken() == len(SWITCHING) + 6


def test_what_a_lost_socket_has_taken_is_not_known(line, monkeypatch):
    def untaken():
        raise OSError

    monkeypatch.setattr(line.wire, "untaken", untaken)
    assert line.outbox.taken() == len(SWITCHING)


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


def test_a_frame_that_may_have_missed_the_cork_is_written():
    """The batch is closed by another thread between the look at it and the call of `add`."""
    batch = WriteBatch(lambda source: line.flush())

    def close_then_add(source):
        batch.close()
        return batch.add(source)

    line = Line(Plain(), batch=SimpleNamespace(open=True, add=close_then_add))
    assert line.outbox.put(b"x")
    assert line.wire.sent == b"x"


def test_a_blocked_socket_is_left_alone_under_the_cork(line):
    line.outbox.limit = math.inf
    line.fill(1)
    line.batch.open = True
    assert line.outbox.put(b"x")
    assert line.outbox.put(b"x" * 2 * CHUNK_BYTES)
    assert line.wire.calls == []
    assert not line.batch.waiting, "the loop writes it"


def test_a_message_leaves_with_those_before_it_when_the_batch_is_closed_for_the_last_event(line):
    """Nothing waits for the end of a callback that follows no other."""
    line.batch.open = True
    assert line.outbox.put(b"one")
    line.batch.open = False
    assert line.outbox.put(b"two")
    assert line.wire.sent == b"onetwo"


def test_whoever_waits_for_room_learns_of_each_write(line):
    line.fill()
    attempt = Attempt(line.outbox.put, b"x", DEADLINE)
    eventually(lambda: line.outbox.waiters)
    line.unblock()
    assert attempt.get() is True


def test_what_is_dropped_is_lost(line):
    line.batch.open = True
    line.outbox.put(b"x" * 10)
    line.dispose()
    line.batch.close()
    assert (line.wire.sent, line.outbox.waiting, line.outbox.lost) == (b"", 0, 10)


# Calls inside calls


@pytest.mark.parametrize("room", [math.inf, 3, 0])
@pytest.mark.parametrize("queued", [b"", b"before"])
def test_a_signal_handler_that_sends_while_a_frame_is_written(line, monkeypatch, room, queued):
    """A signal handler interrupts the thread that writes; its message comes after the one begun."""
    line.block()
    if queued:
        line.outbox.put(queued)
    line.wire.room = room
    send, handled = line.wire.send, []

    def interrupted(data):
        sent = send(data)
        if not handled:
            handled.append(line.outbox.put(b"from the handler"))
        return sent

    monkeypatch.setattr(line.wire, "send", interrupted)
    assert line.outbox.put(b"first")
    line.flush()
    line.unblock()
    assert handled == [True]
    assert line.wire.sent in (
        queued + b"first" + b"from the handler",
        queued + b"from the handler" + b"first",
    )
    assert (line.outbox.queued, line.watched) == (0, 0)


def test_a_signal_handler_that_flushes_leaves_that_to_the_call_it_has_interrupted(line):
    send, flushed = line.wire.send, []

    def interrupted(data):
        flushed.append(line.flush())
        assert len(flushed) == 1
        return send(data)

    line.wire.send = interrupted
    line.outbox.put(b"x" * 2 * CHUNK_BYTES)
    assert line.wire.calls == [b"x" * 2 * CHUNK_BYTES]


# Endings


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
    assert line.deadlines == []
    line.unblock()
    assert line.wire.ended == ended
    assert line.deadlines == ([0] if "close_notify" in ended else []), "the peer's has come"


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

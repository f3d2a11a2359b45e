"""The backlog: what leaves is what came, in order; and it takes little more memory than that."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws.engine.backlog import CHUNK_BYTES, SMALL_BYTES, TLS_RECORD_BYTES, Backlog

SIZES = st.sampled_from(
    [0, 1, 2, SMALL_BYTES, SMALL_BYTES + 1, 1000, CHUNK_BYTES, CHUNK_BYTES + TLS_RECORD_BYTES + 1]
)


@given(st.lists(st.tuples(SIZES, SIZES)), st.booleans())
def test_what_leaves_is_what_came(steps, tls):
    """Whatever is added while a part leaves, as by a signal handler."""
    backlog, came, left = Backlog(), b"", b""
    for number, (size, taken) in enumerate([*steps, *[(0, 1 << 30)] * 99]):
        data = bytes((number % 256,)) * size
        backlog.append(data)
        came += data
        if backlog.size:
            front = backlog.front(tls)
            backlog.append(b"+")
            came += b"+"
            left += bytes(front[:taken])
            backlog.sent(min(taken, len(front)))
        assert backlog.size == len(came) - len(left)
        assert b"".join(map(bytes, backlog)) == came[len(left) :]


def test_a_part_may_have_left_already():
    backlog = Backlog()
    backlog.append(b"abc", 1)
    backlog.append(b"-" * SMALL_BYTES + b"de", SMALL_BYTES)
    backlog.append(b"f" * 2 * SMALL_BYTES, 1)
    assert b"".join(backlog) == b"bcde" + b"f" * (2 * SMALL_BYTES - 1)


@pytest.mark.parametrize("size", [1, 4, 30, SMALL_BYTES, SMALL_BYTES + 1, 1000])
def test_many_small_pieces_take_little_memory(size):
    tracemalloc.start()
    backlog = Backlog()
    while backlog.size < 1 << 20:
        backlog.append(bytes(size))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used <= 1.5 * backlog.size


def test_a_large_piece_that_waits_for_many_is_not_copied():
    data = bytes(1000)
    tracemalloc.start()
    backlogs = [Backlog() for _ in range(100)]
    for backlog in backlogs:
        for _ in range(10):
            backlog.append(data)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 200 * 1000
    assert all(piece is data for backlog in backlogs for piece in backlog)


def test_small_pieces_leave_together():
    backlog = Backlog()
    for size in (1, SMALL_BYTES + 1, 1, CHUNK_BYTES - SMALL_BYTES - 3, 1):
        backlog.append(bytes(size))
    sizes = []
    while backlog.size:
        sizes.append(len(backlog.front(False)))
        backlog.sent(sizes[-1])
    assert sizes == [CHUNK_BYTES, 1]


def test_large_pieces_are_split_for_tls():
    """OpenSSL takes a piece as a whole, and reports no progress within it."""
    backlog = Backlog()
    backlog.append(bytes(CHUNK_BYTES + TLS_RECORD_BYTES + 1))
    assert len(backlog.front(False)) == CHUNK_BYTES + TLS_RECORD_BYTES + 1
    assert len(backlog.front(True)) == CHUNK_BYTES
    backlog.sent(CHUNK_BYTES)
    assert len(backlog.front(True)) == TLS_RECORD_BYTES + 1


def test_it_notes_when_something_has_left(monkeypatch):
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=1.0)
    monkeypatch.setattr("ws.engine.backlog.time", clock)
    backlog = Backlog(7)
    clock.now = 2.0
    backlog.append(b"abc")
    assert (backlog.since, backlog.moved) == (1.0, 1.0)
    backlog.sent(1)
    assert (backlog.since, backlog.moved) == (1.0, 2.0)
    for now, taken, moved in ((3.0, 7, 2.0), (4.0, 8, 4.0), (5.0, 8, 4.0), (6.0, 7, 4.0)):
        clock.now = now
        backlog.note(taken)
        assert backlog.moved == moved

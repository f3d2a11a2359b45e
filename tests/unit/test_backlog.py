"""The backlog: what leaves is what came, in order; and it takes little more memory than that."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws.engine.backlog import CHUNK_BYTES, TLS_RECORD_BYTES, Backlog
from ws.engine.budget import Budget, Holder
from ws.wire.message import SMALL_BYTES

SIZES = st.sampled_from(
    [0, 1, 2, SMALL_BYTES, SMALL_BYTES + 1, 1000, CHUNK_BYTES, CHUNK_BYTES + TLS_RECORD_BYTES + 1]
)


def backlogs(count):
    """Return the backlogs of so many holders, and the budget that counts them."""
    budget = Budget(1 << 40)
    return [Backlog(budget, Holder(), 7) for _ in range(count)], budget


@given(st.lists(st.tuples(SIZES, SIZES, st.booleans())), st.booleans())
def test_what_leaves_is_what_came(steps, tls):
    """Whatever is added while a part leaves, as by a signal handler."""
    (backlog,), budget = backlogs(1)
    came, left = b"", b""
    for number, (size, taken, shared) in enumerate([*steps, *[(0, 1 << 30, False)] * 99]):
        data = bytes((number % 256,)) * size
        backlog.append(memoryview(data) if shared else data)
        came += data
        if backlog.size:
            front = backlog.front(tls)
            if number < len(steps):
                backlog.append(b"+")
                came += b"+"
            left += bytes(front[:taken])
            backlog.sent(min(taken, len(front)))
        assert backlog.size == len(came) - len(left)
        assert budget.total >= backlog.size
    assert left == came
    backlog.clear()  # of empty pieces
    assert budget.total == 0


def test_what_is_forgotten_counts_no_longer():
    (backlog,), budget = backlogs(1)
    for piece in (b"abc", bytes(1000), memoryview(bytes(1000)), b"abc"):
        backlog.append(piece)
    backlog.sent(1)
    backlog.clear()
    assert (backlog.size, list(backlog), budget.total) == (0, [], 0)
    backlog.append(b"abc")
    assert list(backlog) == [b"abc"]


@pytest.mark.parametrize("size", [1, 4, 30, SMALL_BYTES, SMALL_BYTES + 1, 1000, 100_000])
def test_what_it_takes_is_what_counts(size):
    (backlog,), budget = backlogs(1)
    tracemalloc.start()
    while backlog.size < 1 << 20:
        backlog.append(bytes(size))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used <= 1.5 * backlog.size
    assert budget.total / 1.2 <= used <= 1.2 * budget.total


@pytest.mark.parametrize("size", [SMALL_BYTES + 1, 1000, 100_000])
def test_a_piece_that_waits_for_many_is_not_copied_and_counts_once(size):
    many, budget = backlogs(50)
    tracemalloc.start()
    for _ in range(100):
        piece = memoryview(bytes(size))
        for backlog in many:
            backlog.append(piece)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert all(backlog.size == 100 * size for backlog in many)
    assert budget.total / 1.5 <= used <= 1.5 * budget.total


def test_a_piece_counts_until_the_last_byte_has_left():
    (backlog, other), budget = backlogs(2)
    piece = memoryview(bytes(1000))
    for one in (backlog, other):
        one.append(piece)
    whole = budget.total
    for one, size in ((backlog, 999), (other, 999), (backlog, 1)):
        one.sent(size)
        assert 1000 <= budget.total <= whole
    other.sent(1)
    assert budget.total == 0


def test_small_pieces_leave_together():
    (backlog,), _ = backlogs(1)
    for size in (1, SMALL_BYTES + 1, 1, CHUNK_BYTES - SMALL_BYTES - 3, 1):
        backlog.append(bytes(size))
    sizes = []
    while backlog.size:
        sizes.append(len(backlog.front(False)))
        backlog.sent(sizes[-1])
    assert sizes == [CHUNK_BYTES, 1]


def test_large_pieces_are_split_for_tls():
    """OpenSSL takes a piece as a whole, and reports no progress within it."""
    (backlog,), _ = backlogs(1)
    backlog.append(bytes(CHUNK_BYTES + TLS_RECORD_BYTES + 1))
    assert len(backlog.front(False)) == CHUNK_BYTES + TLS_RECORD_BYTES + 1
    assert len(backlog.front(True)) == CHUNK_BYTES
    backlog.sent(CHUNK_BYTES)
    assert len(backlog.front(True)) == TLS_RECORD_BYTES + 1


def test_it_notes_when_something_has_left(monkeypatch):
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=1.0)
    monkeypatch.setattr("ws.engine.backlog.time", clock)
    (backlog,), _ = backlogs(1)
    clock.now = 2.0
    backlog.append(b"abc")
    assert (backlog.since, backlog.moved) == (1.0, 1.0)
    backlog.sent(1)
    assert (backlog.since, backlog.moved) == (1.0, 2.0)
    for now, taken, moved in ((3.0, 7, 2.0), (4.0, 8, 4.0), (5.0, 8, 4.0), (6.0, 7, 4.0)):
        clock.now = now
        backlog.note(taken)
        assert backlog.moved == moved

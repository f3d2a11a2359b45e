"""The cork: what waits in a `WriteBatch` is written when it is closed."""

from __future__ import annotations

import threading
from collections import deque

import pytest

from tests.support.waiting import DEADLINE
from ws.engine.cork import WriteBatch


@pytest.fixture
def written():
    return []


@pytest.fixture
def batch(written):
    return WriteBatch(written.append)


def test_it_is_closed_at_first(batch):
    assert not batch.open
    assert not batch.waiting


def test_sources_wait_until_it_is_closed(batch, written):
    batch.open = True
    assert batch.add("one")
    assert batch.add("two")
    assert written == []
    batch.close()
    assert written == ["one", "two"]
    assert not batch.open
    batch.close()
    assert written == ["one", "two"], "each once"


def test_a_source_that_comes_after_the_end_is_told(batch, written):
    """Another thread may close the batch between its look at `open` and its call of `add`."""
    batch.open = True
    batch.close()
    assert not batch.add("late")
    assert written == []
    batch.close()
    assert written == ["late"], "it may be written once more, which does no harm"


def test_what_is_added_while_it_closes_is_written_too(written):
    batch = WriteBatch(lambda source: (written.append(source), source and batch.add(source - 1)))
    batch.add(3)
    batch.close()
    assert written == [3, 2, 1, 0]


def test_another_thread_may_take_the_last_one(batch, written):
    class Taken(deque):
        """It isn't empty when asked, and it is afterwards."""

        def __bool__(self):
            return True

    batch.waiting = Taken(["one"])
    batch.close()
    assert written == ["one"]


def test_two_threads_that_close_it_write_everything_once(batch, written):
    batch.waiting.extend(range(10_000))
    start = threading.Barrier(2)
    threads = [threading.Thread(target=lambda: (start.wait(), batch.close())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert sorted(written) == list(range(10_000))

"""Whose turn it is: shares of time, and the queue for workers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ws.engine.poll import READ
from ws.engine.shares import CREDIT_SECONDS, FairQueue, Share, Turns


def source(share, used=0.0):
    """Return a source; a new one counts as having used what the others of its share have."""
    share.connections += 1
    return SimpleNamespace(share=share, used=max(used, share.floor))


def serve(turns, sources, costs, seconds):
    """Serve sources that are always ready, for so long. Return how long each was served.

    Each round lasts 5 ms, as the leader's.
    """
    got = dict.fromkeys(range(len(sources)), 0.0)
    numbers = {id(one): number for number, one in enumerate(sources)}
    while sum(got.values()) < seconds:
        ready = [(one, READ) for one in sources]
        turns.order(ready)
        spent = 0.0
        for one, _ in ready:
            cost = costs[numbers[id(one)]]
            turns.charge(one, cost)
            got[numbers[id(one)]] += cost
            spent += cost
            if spent > 0.005:
                break
    return got


def first(turns, *sources):
    ready = [(one, READ) for one in sources]
    turns.order(ready)
    return ready[0][0]


# Turns


def test_nothing_to_order():
    """A worker may still charge what it has used: the leader has just found nobody ready."""
    turns, one = Turns(), source(Share("one"))
    turns.order([])
    turns.charge(one, 1.0)
    assert one.used == one.share.used == pytest.approx(1.0)


def test_a_crowd_weighs_as_much_as_one():
    crowd, one = Share("crowd"), Share("one")
    sources = [source(crowd) for _ in range(50)] + [source(one)]
    got = serve(Turns(), sources, [0.002] * 51, 10)
    assert got[50] >= 10 / 4, "at least a turn in each round, of three"


def test_connections_of_one_share_take_turns():
    share = Share()
    got = serve(Turns(), [source(share) for _ in range(40)], [0.002] * 40, 10)
    assert max(got.values()) <= min(got.values()) + 2 * CREDIT_SECONDS


def test_who_needs_little_is_served_first():
    """Also beside others of the same address, which use all the time that there is."""
    turns, share = Turns(), Share()
    modest, crowd = source(share), [source(share) for _ in range(20)]
    turns.begin()
    serve(turns, crowd, [0.01] * 20, 5)
    for _ in range(100):
        assert first(turns, *crowd, modest) is modest
        turns.charge(modest, 0.0001)
        serve(turns, crowd, [0.01] * 20, 0.1)


def test_nobody_saves_up_time():
    turns, idle, busy = Turns(), Share("idle"), Share("busy")
    sources = [source(idle), source(busy)]
    serve(turns, sources[1:], [0.001], 100)
    got = serve(turns, sources, [0.001] * 2, 1)
    assert got[0] <= 0.5 + CREDIT_SECONDS + 0.005


def test_nobody_is_held_liable_for_what_was_used_while_nobody_waited():
    turns = Turns()
    old, new = source(Share("old")), source(Share("new"))
    turns.begin()
    turns.charge(old, 100)
    turns.begin()
    got = serve(turns, [old, new], [0.001] * 2, 1)
    assert got[0] >= 0.4


def test_newcomers_do_not_starve_those_who_were_there():
    turns, share = Turns(), Share()
    old = source(share)
    turns.charge(old, 0.05)
    rounds = 0
    while True:
        newcomers = [source(share) for _ in range(10)]
        ready = [(one, READ) for one in (*newcomers, old)]
        turns.order(ready)
        if ready[0][0] is old:
            break
        for one, _ in ready[:5]:
            turns.charge(one, 0.001)
        share.connections -= len(newcomers)
        rounds += 1
    assert rounds < 1000


# The queue for workers


def several():
    return False


def alone():
    return True


def queue_of(*sources, limit=8, is_one_share=several):
    queue = FairQueue(limit, is_one_share)
    for one in sources:
        queue.add(one)
    return queue


def drain(queue):
    return list(iter(queue.pop, None))


def test_the_queue_is_empty_at_first():
    queue = queue_of()
    assert not queue
    assert queue.pop() is None


def test_the_sources_of_a_share_come_in_order():
    share = Share()
    sources = [source(share) for _ in range(5)]
    queue = queue_of(*sources)
    assert (bool(queue), queue.size) == (True, 5)
    assert drain(queue) == sources
    assert (bool(queue), queue.size, share.workers) == (False, 0, 5)


def test_of_a_share_the_source_comes_first_that_has_used_least():
    share = Share()
    heavy, light = source(share, 3), source(share, 1)
    assert drain(queue_of(heavy, light)) == [light, heavy]


def test_shares_take_turns():
    crowd, other = Share(), Share()
    many, few = [source(crowd) for _ in range(4)], [source(other) for _ in range(2)]
    queue = queue_of(*many, *few)
    assert drain(queue) == [many[0], few[0], many[1], few[1], many[2], many[3]]


def test_a_share_without_a_worker_comes_first():
    busy, idle = Share(), Share()
    busy.workers = 1
    queue = queue_of(source(busy), source(busy))
    late = source(idle)
    queue.add(late)
    assert queue.pop() is late


@pytest.mark.parametrize(
    "limit, is_one_share, most", [(8, several, 6), (8, alone, 8), (1, several, 1), (3, several, 3)]
)
def test_a_share_leaves_workers_to_others(limit, is_one_share, most):
    share = Share()
    queue = queue_of(*[source(share) for _ in range(20)], limit=limit, is_one_share=is_one_share)
    assert len(drain(queue)) == most
    assert not queue
    assert queue.size == 20 - most
    share.workers -= 1
    queue.place(share)
    assert len(drain(queue)) == 1


def test_a_share_that_computes_has_fewer_workers():
    share = Share()
    share.width = 2
    queue = queue_of(*[source(share) for _ in range(5)])
    assert len(drain(queue)) == 2
    share.endless = 1
    queue.place(share)
    assert len(drain(queue)) == 1

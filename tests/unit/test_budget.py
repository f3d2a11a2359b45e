"""The budget: what all hold together, who holds most, and what one may hold."""

from __future__ import annotations

import sys
import threading
from math import inf
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws.engine.budget import STALL_SECONDS, SURVEY_SECONDS, Budget, Holder
from ws.engine.shares import Share

LIMIT = 1000


class Peer(Holder):
    """A holder that made progress when a test says so."""

    def __init__(self, share, moved=0.0):
        super().__init__()
        self.share, self.last = share, moved

    def moved(self):
        return self.last


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr("ws.engine.budget.time", clock)
    return clock


@pytest.fixture
def budget():
    return Budget(LIMIT)


def peers(budget, *sizes, share=None, moved=1000.0):
    """Return holders of one share that hold so much each."""
    share, made = share or Share(), []
    for size in sizes:
        made.append(Peer(share, moved))
        budget.charge(made[-1], size)
    return made


def sizes(holders):
    return [holder.held for holder in holders]


# What is held


def test_what_all_hold_by_themselves(budget):
    one, two = peers(budget, 10, 20)
    assert budget.total == 30
    budget.charge(one, 5)
    budget.charge(two, -20)
    assert (budget.total, one.held, two.held) == (15, 15, 0)


def test_a_shared_buffer_counts_once(budget):
    one, two = peers(budget, 0, 0)
    buffer = memoryview(bytes(500))
    budget.share(one, buffer)
    once = budget.total
    assert 500 < once < 1000
    budget.share(two, buffer)
    assert budget.total - once == two.held < 50, "only what it takes to hold it"
    assert budget.weight(one) == budget.weight(two) == budget.total // 2
    budget.unshare(one, buffer)
    assert budget.total == budget.weight(two) == once
    budget.unshare(two, buffer)
    assert budget.total == one.held == two.held == one.shared == two.shared == 0


def test_a_buffer_of_the_same_bytes_is_another_one(budget):
    one, two = peers(budget, 0, 0)
    buffers = [memoryview(bytes(500)) for _ in range(2)]
    for holder, buffer in zip((one, two), buffers):
        budget.share(holder, buffer)
    assert budget.total > 1000


def test_who_waits_with_the_oldest_shared_buffers_weighs_most(budget):
    slow, quick = peers(budget, 0, 0)
    buffers = [memoryview(bytes(500)) for _ in range(10)]
    for buffer in buffers:
        for holder in (slow, quick):
            budget.share(holder, buffer)
    for buffer in buffers[:9]:
        budget.unshare(quick, buffer)
    assert budget.weight(slow) > 5 * budget.weight(quick)
    assert abs(budget.weight(slow) + budget.weight(quick) - budget.total) <= 1


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.booleans())))
def test_the_figures_add_up(steps):
    budget, share = Budget(LIMIT), Share()
    holders = [Peer(share) for _ in range(3)]
    buffers = [memoryview(bytes(size)) for size in (10, 100, 1000, 1000)]
    held = []
    for who, which, more in steps:
        budget.charge(holders[who], which)
        if more:
            budget.share(holders[who], buffers[which])
            held.append((who, which))
        elif held:
            last, which_last = held.pop()
            budget.unshare(holders[last], buffers[which_last])
        assert budget.total >= sum(len(buffers[one]) for one in {one for _, one in held})
        assert abs(sum(map(budget.weight, holders)) - budget.total) <= 3
    for who, which in held:
        budget.unshare(holders[who], buffers[which])
    assert budget.total == sum(which for _, which, _ in steps)


def test_many_threads_may_count_at_once(budget):
    """And the figures are exact, with and without the GIL."""
    share, buffer = Share(), memoryview(bytes(100))
    holders = [Peer(share) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def work():
        for number in range(2000):
            holder = holders[number % 4]
            budget.charge(holder, 3)
            budget.share(holder, buffer)
            budget.charge(holder, -3)
            budget.unshare(holder, buffer)

    threads = [threading.Thread(target=work) for _ in range(4)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert budget.total == 0
    assert sizes(holders) == [0, 0, 0, 0]


def test_those_who_hold_anything(budget):
    one, two, three = peers(budget, 10, 0, 20)
    assert set(budget.holders) == {one, three}
    budget.charge(one, -10)
    budget.charge(two, 1)
    assert set(budget.holders) == {two, three}


# Who holds most


def test_nobody_is_condemned_within_the_limit(budget):
    peers(budget, LIMIT)
    assert budget.expected == LIMIT
    assert budget.largest(100) == []


def test_the_largest_come_first_until_enough_is_free(budget):
    peers(budget, 100, 500, 10, 300, 200, 10)
    assert budget.expected == LIMIT + 120
    assert sizes(budget.largest(0)) == [500]
    assert budget.expected == 620, "what the condemned hold is about to be freed"
    assert budget.largest(0) == []


def test_spare_room_is_made(budget):
    peers(budget, 100, 500, 10, 300, 200, 10)
    assert sizes(budget.largest(400)) == [500, 300]


def test_who_holds_less_than_the_average_is_left_alone(budget):
    peers(budget, 900, 200, 100)
    assert sizes(budget.largest(LIMIT)) == [900]


def test_those_who_make_no_progress_come_first(budget, clock):
    share = Share()
    peers(budget, 500, share=share, moved=clock.now - STALL_SECONDS + 0.1)
    peers(budget, 400, 300, share=share, moved=clock.now - STALL_SECONDS)
    peers(budget, 10, share=share, moved=0)
    assert sizes(budget.largest(LIMIT)) == [400, 500]


def test_a_crowd_is_held_against_itself(budget):
    crowd = peers(budget, *[10] * 100, share=Share("1.1.1.1"))
    (honest,) = peers(budget, 90, share=Share("2.2.2.2"), moved=0)
    for _ in range(10):
        budget.charge(crowd[0], 100)
        chosen = budget.largest(LIMIT)
        assert honest not in chosen
        for holder in chosen:
            budget.charge(holder, -holder.held)


def test_many_equal_ones_are_condemned_as_needed(budget):
    holders = peers(budget, *[10] * 101)
    assert len(budget.largest(50)) == 6
    assert sum(holder.condemned for holder in holders) == 6


def test_what_a_condemned_holder_still_takes_is_about_to_be_freed_as_well(budget):
    (holder,) = peers(budget, 1100)
    assert budget.largest(0) == [holder]
    budget.condemn(holder)  # again
    budget.charge(holder, 500)
    assert budget.expected == 0
    budget.charge(holder, -1600)
    assert (budget.total, budget.expected) == (0, 0)


def test_a_holder_of_shared_buffers_is_condemned_for_its_part(budget):
    buffer = memoryview(bytes(900))
    many = peers(budget, *[0] * 10, share=Share("1.1.1.1"))
    for holder in many:
        budget.share(holder, buffer)
    (one,) = peers(budget, 400, share=Share("2.2.2.2"))
    other = peers(budget, 10, share=Share("3.3.3.3"))[0]
    chosen = budget.largest(LIMIT)
    assert chosen == many, "as all together hold most"
    assert one not in chosen and other not in chosen


# What one may hold


def test_an_address_that_holds_less_than_the_average_is_not_limited(budget):
    large, small = Share("1.1.1.1"), Share("2.2.2.2")
    peers(budget, 300, 300, share=large)
    peers(budget, 500, share=small)
    assert budget.allowance(large) == 300
    assert budget.allowance(small) == inf
    assert budget.allowance(Share("3.3.3.3")) == inf
    assert (large.held, small.held) == (600, 500)


def test_budgets_that_have_a_share_in_common_do_not_disturb_each_other(budget):
    share, other = Share(), Budget(LIMIT)
    peers(other, 1000, share=share)
    peers(budget, 100, share=share)
    assert other.allowance(share) == 1000
    assert budget.allowance(share) == 100


def test_an_only_address_is_limited(budget):
    share = Share()
    peers(budget, 100, 300, share=share)
    assert budget.allowance(share) == 200


def test_what_each_address_holds_is_found_out_only_so_often(budget, clock):
    share = Share()
    (holder,) = peers(budget, 100, share=share)
    assert budget.allowance(share) == 100
    budget.charge(holder, 100)
    clock.now += SURVEY_SECONDS - 0.01
    assert budget.allowance(share) == 100
    clock.now += 0.01
    assert budget.allowance(share) == 200
    budget.charge(holder, -200)
    clock.now += SURVEY_SECONDS
    assert budget.allowance(share) == inf
    assert share.held == 0


def test_an_abstract_holder_can_do_nothing():
    holder = Holder()
    for call in (
        holder.moved,
        holder.free,
        lambda: holder.pause(True),
        lambda: holder.shed("reason"),
    ):
        with pytest.raises(NotImplementedError):
            call()


class LettingGo(Peer):
    """While another thread asks what it weighs, it lets go of the only buffer that is shared."""

    size, letting_go = 0, None

    @property
    def shared(self):
        size, thread, self.letting_go = self.size, self.letting_go, None
        if thread:
            thread.start()
            thread.join(0.1)
        return size

    @shared.setter
    def shared(self, size):
        self.size = size


def test_what_is_let_go_of_while_it_is_weighed(budget):
    buffer, peer = memoryview(bytes(100)), LettingGo(Share())
    budget.share(peer, buffer)
    peer.letting_go = thread = threading.Thread(target=budget.unshare, args=(peer, buffer))
    assert budget.weight(peer) >= 100
    thread.join()
    assert budget.weight(peer) == 0

"""Overload: who is refused, paused and cut when too much memory is held."""

from __future__ import annotations

from errno import ENOMEM
from types import SimpleNamespace

import pytest

from ws.engine.budget import Holder
from ws.engine.overload import (
    PAUSE_SECONDS,
    SMALL_BYTES,
    TICK_SECONDS,
    TRIM_SECONDS,
    Overload,
)
from ws.engine.shares import Share

MIB = 1 << 20
LIMIT = 100 * MIB


class Peer(Holder):
    """A connection that notes what is done to it."""

    def __init__(self, system, share, size):
        super().__init__()
        self.system, self.share = system, share
        self.reading, self.reason, self.freed = True, "", False
        self.last = None  # when it made progress last; None if it does so all the time
        self.take(size)

    def __repr__(self):
        return f"<{self.share.address}>"

    def take(self, size):
        self.system.overload.budget.charge(self, size)

    def moved(self):
        return self.system.now if self.last is None else self.last

    def pause(self, paused):
        self.reading = not paused

    def shed(self, reason):
        assert not self.reason, "nobody is cut twice"
        self.reason = reason

    def free(self):
        assert self.reason
        self.freed = True
        self.take(-self.held)

    def turn(self, size):
        """Read so much, unless that has to wait."""
        if not self.system.overload.is_paused(self):
            self.take(size)
            self.system.overload.make_room()


class System:
    """A clock, a loop, and holders of memory."""

    def __init__(self):
        self.now = 1000.0
        self.warnings = []
        self.trims = 0
        self.deadline = None
        limits = SimpleNamespace(max_memory=LIMIT, max_message_size=MIB)
        self.overload = Overload(limits, lambda text, *values: self.warnings.append(text % values))
        self.overload.run(self)

    def monotonic(self):
        return self.now

    def trim(self):
        self.trims += 1

    def schedule(self, source, deadline):
        assert source is self.overload
        self.deadline = deadline

    def peers(self, *sizes, address="1.1.1.1"):
        share = Share(address)
        return [Peer(self, share, size) for size in sizes]

    def pass_time(self, seconds):
        """Call what is due."""
        end = self.now + seconds
        while self.deadline is not None and self.deadline <= end:
            self.now, self.deadline = max(self.now, self.deadline), None
            self.overload.on_deadline(self.now)
        self.now = end


@pytest.fixture
def system(monkeypatch):
    system = System()
    for module in ("budget", "overload"):
        monkeypatch.setattr(f"ws.engine.{module}.time", system)
    monkeypatch.setattr("ws.engine.overload.return_freed_memory", system.trim)
    return system


# Refusing


def test_up_to_three_quarters_nobody_is_refused(system):
    (peer,) = system.peers(LIMIT * 3 // 4)
    assert not system.overload.pressed
    assert not system.overload.refuse(peer.share)


def test_then_those_who_hold_more_than_the_average_are(system):
    (most,) = system.peers(76 * MIB)
    (little,) = system.peers(MIB, address="2.2.2.2")
    assert system.overload.pressed
    assert system.overload.refuse(most.share)
    assert not system.overload.refuse(little.share)
    assert not system.overload.refuse(Share("3.3.3.3"))
    assert system.overload.refusals == 1
    assert system.warnings == [f"3/4 of max_memory={LIMIT} are held: refusing 1.1.1.1"]


# Cutting


def test_within_the_limit_nobody_is_cut(system):
    peers = system.peers(50 * MIB, 50 * MIB)
    system.overload.relieve()
    assert not any(peer.reason for peer in peers)


def test_over_the_limit_the_largest_are_cut_until_a_sixteenth_is_free(system):
    small, large, larger = system.peers(31 * MIB, 34 * MIB, 36 * MIB)
    system.overload.relieve()
    assert larger.reason == f"held too much memory: {36 * MIB} bytes"
    assert not small.reason and not large.reason
    assert system.overload.cuts == 1
    system.overload.relieve()
    assert not large.reason, "the first one is about to free what it holds"
    assert system.warnings == [
        f"max_memory={LIMIT} is held: cutting <1.1.1.1>, which {larger.reason}"
    ]


def test_the_leader_frees_what_only_it_may_free(system):
    peers = system.peers(60 * MIB, 41 * MIB)
    system.overload.relieve()
    assert not peers[0].freed
    system.pass_time(0)
    assert peers[0].freed and not peers[1].freed
    assert system.overload.budget.total == 41 * MIB
    system.pass_time(TICK_SECONDS)
    assert system.deadline is None, "nothing more is to be done"


def test_whoever_exceeds_the_limit_in_its_turn_makes_room_at_once(system):
    for peer in system.peers(*[0] * 200):
        peer.turn(MIB)
        assert system.overload.budget.total <= LIMIT
    assert 100 <= system.overload.cuts < 110


# Returning


def test_free_memory_is_returned_over_three_quarters_but_not_all_the_time(system):
    (peer,) = system.peers(MIB)
    peer.turn(74 * MIB)
    assert not system.trims
    for _ in range(10):
        peer.turn(MIB // 2)
    assert system.trims == 1
    system.pass_time(TRIM_SECONDS)
    peer.turn(0)
    assert system.trims == 2


# Pausing


def test_within_three_quarters_nobody_is_paused(system):
    (peer,) = system.peers(MIB)
    peer.turn(74 * MIB)
    assert peer.reading


def test_then_those_who_hold_most_are_not_read(system):
    (first,) = system.peers(70 * MIB)
    (little,) = system.peers(10 * MIB, address="2.2.2.2")
    first.turn(MIB)
    little.turn(MIB)
    assert not first.reading and little.reading
    assert system.overload.pauses == 1
    assert system.warnings == [f"3/4 of max_memory={LIMIT} are held: pausing <1.1.1.1>"]
    first.turn(0)
    assert not first.reading
    assert system.overload.pauses == 1, "it is paused already"


def test_those_who_send_nothing_more_are_paused_as_well(system):
    """So that their time runs."""
    large, larger = system.peers(38 * MIB, 40 * MIB)
    system.overload.relieve()
    system.pass_time(0)
    assert system.overload.pauses == 1, "who holds more than the average"
    system.pass_time(PAUSE_SECONDS + TICK_SECONDS)
    assert larger.reason.startswith("held much memory for too long")
    assert not large.reason


def test_who_holds_less_than_its_neighbours_is_read(system):
    *crowd, honest = system.peers(*[MIB] * 77, MIB // 4)
    for peer in (*crowd, honest):
        peer.turn(1)
    assert not any(peer.reading for peer in crowd)
    assert honest.reading


def test_who_holds_next_to_nothing_is_always_read(system):
    crowd = system.peers(*[SMALL_BYTES - 1] * 1201)
    for peer in crowd:
        peer.turn(0)
    assert all(peer.reading for peer in crowd)


def test_all_go_on_when_there_is_memory_again(system):
    one, two, three = system.peers(*[26 * MIB] * 3)
    for peer in (one, two, three):
        peer.turn(0)
    one.free, three.free = one.take, three.take
    three.take(-26 * MIB)
    system.pass_time(TICK_SECONDS)
    assert one.reading and two.reading and three.reading
    assert system.deadline is None, "nothing more is to be done"


def test_who_has_become_light_goes_on_although_others_have_not(system):
    one, *others = system.peers(*[20 * MIB] * 5)
    one.turn(0)
    one.take(-19 * MIB)
    for peer in others:
        peer.take(MIB)
    system.pass_time(TICK_SECONDS)
    assert one.reading


def test_those_who_are_paused_take_turns(system):
    """Or they could all be paused for ever, each with a message half read."""
    crowd = system.peers(*[MIB // 2] * 180)
    for peer in crowd:
        peer.turn(0)
    system.pass_time(TICK_SECONDS)
    at_once = sum(peer.reading for peer in crowd)
    assert at_once == 5, "as many as have room to complete their message"
    done = 0
    for _ in range(100):
        for peer in crowd:
            if peer.reading and peer.held:
                peer.turn(MIB // 2)
                peer.turn(-MIB)
                done += 1
        system.pass_time(TICK_SECONDS)
    assert done == 180
    assert system.overload.cuts == 0


def test_who_sends_nothing_in_its_turn_loses_it(system):
    """Those who stall don't keep the others of their address from their turns."""
    crowd = system.peers(*[MIB // 2] * 180)
    for peer in crowd[:175]:
        peer.last = 0
    had_turns = set()
    for _ in range(int(PAUSE_SECONDS / TICK_SECONDS) - 1):
        had_turns.update(peer for peer in crowd if peer.reading and peer.held)
        for peer in crowd[175:]:
            if peer.reading and peer.held:
                peer.turn(MIB // 2)
                peer.turn(-MIB)
        system.pass_time(TICK_SECONDS)
    assert not any(peer.held for peer in crowd[175:])
    assert len(had_turns) == 180
    assert system.overload.cuts == 0


def test_one_has_its_turn_however_little_room_there_is(system):
    crowd = system.peers(*[33 * MIB] * 3)
    for peer in crowd:
        peer.turn(0)
    system.pass_time(TICK_SECONDS)
    assert [peer.reading for peer in crowd] == [True, False, False]


def test_the_turns_begin_with_whom_the_others_of_its_address_hold_least(system):
    crowd = system.peers(*[15 * MIB] * 4)
    (other,) = system.peers(37 * MIB, address="2.2.2.2")
    (little,) = system.peers(0, address="3.3.3.3")
    little.take(1)
    for peer in (*crowd, other):
        peer.turn(0)
    assert not other.reading
    system.pass_time(TICK_SECONDS)
    assert other.reading and not crowd[0].reading


def test_who_is_paused_for_long_is_cut(system):
    one, two = system.peers(40 * MIB, 40 * MIB)
    for peer in (one, two):
        peer.turn(0)
    system.pass_time(PAUSE_SECONDS - 1)
    assert not one.reason and not two.reason
    system.pass_time(1 + TICK_SECONDS)
    assert one.reason == f"held much memory for too long: {40 * MIB} bytes"
    assert one.freed
    assert not two.reason and two.reading, "there is room again"
    assert system.overload.cuts == 1
    system.pass_time(TICK_SECONDS)
    assert system.deadline is None


def test_who_becomes_lighter_is_not_cut(system):
    """As when a peer reads what waits for it."""
    one, two = system.peers(40 * MIB, 60 * MIB)
    two.turn(0)
    for _ in range(10):
        two.take(-MIB)
        system.pass_time(PAUSE_SECONDS / 2)
        one.take(MIB)
    assert not two.reason


def test_who_is_cut_for_another_reason_meanwhile_is_let_go(system):
    one, two = system.peers(40 * MIB, 40 * MIB)
    two.turn(0)
    two.take(30 * MIB)
    system.overload.relieve()
    assert two.reason
    system.pass_time(TICK_SECONDS)
    assert two.freed and two.reading, "so that the end of TCP is noticed"
    system.pass_time(2 * PAUSE_SECONDS)
    assert not one.reason


def test_a_fault_is_no_end(system):
    system.overload.on_fault()
    assert system.deadline == system.now + TICK_SECONDS


def test_memory_that_gets_short_just_after_the_last_look_is_noticed(system, monkeypatch):
    """Another thread exceeds the mark when the leader has found that nothing is to be done."""
    one, other = system.peers(76 * MIB, 0)
    pressed, looks = Overload.pressed.fget, []

    def look(overload):
        found = pressed(overload)
        looks.append(found)
        if len(looks) == last:
            other.take(80 * MIB)
            overload.relieve()
        return found

    def watch_in_vain():
        system.overload.relieve()
        one.take(-one.held)
        looks.clear()
        system.pass_time(0)
        return len(looks)

    monkeypatch.setattr(Overload, "pressed", property(look))
    last = None
    last = watch_in_vain()
    one.take(76 * MIB)
    watch_in_vain()
    assert other.held
    system.pass_time(TICK_SECONDS)
    assert system.overload.pauses == 1


def test_reading_on_is_tried_again_when_that_fails(system, monkeypatch):
    """The system may have no memory to watch one more socket."""
    (peer,) = system.peers(80 * MIB)
    peer.turn(0)
    assert not peer.reading
    peer.take(-80 * MIB)
    failures = [OSError(ENOMEM, "no memory")]
    pause = peer.pause

    def fail_once(paused):
        if failures:
            raise failures.pop()
        pause(paused)

    peer.pause = fail_once
    with pytest.raises(OSError, match="no memory"):
        system.pass_time(0)
    system.overload.on_fault()
    system.pass_time(TICK_SECONDS)
    assert peer.reading

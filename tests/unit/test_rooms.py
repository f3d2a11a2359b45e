"""`Rooms`: which clients it keeps and selects, and what it tells the backplane."""

from __future__ import annotations

import threading

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.support.tables import table
from ws.engine.sockets import Client
from ws.rooms import Rooms


class Guest(Client):
    """A client without a socket."""

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return self.name


class House:
    """Rooms, the clients a to d in it, and what the backplane was told."""

    def __init__(self):
        self.told = []
        self.rooms = Rooms(lambda *counted: self.told.append(counted))
        self.guests = {name: Guest(name) for name in "abcd"}
        for client in self.guests.values():
            self.rooms.enter(client, f"connection of {client}")
        self.told.clear()

    def __getitem__(self, name):
        return self.guests[name]

    def join(self, names, room):
        for name in names:
            self.rooms.join(self[name], room)

    def resolve(self, targets):
        """Return targets as `select` takes them: names in braces stand for clients."""
        if targets is None or not targets.startswith("{"):
            return targets
        return [self[name] for name in targets.strip("{}")]


@pytest.fixture
def house():
    return House()


def test_everybody_is_counted():
    told = []
    rooms = Rooms(lambda *counted: told.append(counted))
    one, two = Guest("one"), Guest("two")
    for client in (one, two):
        rooms.enter(client, object())
    rooms.remove(one)
    rooms.remove(one)
    rooms.remove(two)
    assert told == [(None, 1), (None, 2), (None, 1), (None, 0)]


def test_clients_and_members_are_in_order(house):
    house.join("cab", "tea")
    house.join("c", "tea")  # a client that is in already keeps its place
    assert list(house.rooms.clients) == [house[name] for name in "abcd"]
    assert house.rooms.snapshot() == {"tea": [house[name] for name in "cab"]}


def test_a_room_is_counted_at_each_change(house):
    house.join("ab", "tea")
    house.rooms.leave(house["a"], "tea")
    house.rooms.leave(house["a"], "tea")
    house.rooms.leave(house["b"], "tea")
    house.rooms.leave(house["b"], "coffee")
    assert house.told == [("tea", 1), ("tea", 2), ("tea", 1), ("tea", 0)]
    assert house.rooms.snapshot() == {}, "a room without clients vanishes"


def test_who_leaves_a_room_stays_in_the_others(house):
    house.join("a", "tea")
    house.join("a", "coffee")
    house.rooms.leave(house["a"], "tea")
    assert house.rooms.snapshot() == {"coffee": [house["a"]]}


def test_who_leaves_the_server_leaves_all_rooms(house):
    house.join("ab", "tea")
    house.join("a", "coffee")
    house.told.clear()
    house.rooms.remove(house["a"])
    assert house.told[0] == (None, 3)
    assert sorted(house.told[1:]) == [("coffee", 0), ("tea", 1)]
    assert house.rooms.snapshot() == {"tea": [house["b"]]}


def test_who_has_left_can_not_join(house):
    house.rooms.remove(house["a"])
    house.told.clear()
    house.join("a", "tea")
    house.rooms.leave(house["a"], "tea")
    assert house.told == []
    assert house.rooms.snapshot() == {}


def test_presence(house):
    house.join("ab", "tea")
    assert [house.rooms.presence(room) for room in (None, "tea", "coffee")] == [4, 2, 0]


def test_a_snapshot_is_a_copy(house):
    house.join("a", "tea")
    house.rooms.snapshot()["tea"].clear()
    house.rooms.snapshot().clear()
    assert house.rooms.presence("tea") == 1


def test_the_house_is_empty_when_nothing_is_kept_of_anybody(house):
    house.join("abcd", "tea")
    house.rooms.leave(house["a"], "tea")
    for client in house.guests.values():
        assert not house.rooms.is_empty()
        house.rooms.remove(client)
    assert house.rooms.is_empty()


@table(
    "to, exclude, selected",
    ("all", None, "", "abcd"),
    ("all but a client", None, "{b}", "acd"),
    ("all but a room", None, "tea", "bd"),
    ("all but nobody", None, "nowhere", "abcd"),
    ("a room, in order of joining", "tea", "", "ca"),
    ("a room that nobody is in", "nowhere", "", ""),
    ("a room without a client", "tea", "{a}", "c"),
    ("a room without another", "tea", "coffee", "c"),
    ("a room without itself", "tea", "tea", ""),
    ("clients, in the order given", "{db}", "", "db"),
    ("each only once", "{bdb}", "", "bd"),
    ("clients without a room", "{ab}", "tea", "b"),
    ("clients without clients", "{abd}", "{da}", "b"),
    ("clients without some that aren't among them", "{a}", "{b}", "a"),
    ("no clients", "{}", "", ""),
    ("the room whose name is empty", "", "", "d"),
)
def test_select(house, to, exclude, selected):
    house.join("ca", "tea")
    house.join("ab", "coffee")
    house.join("d", "")
    chosen = house.rooms.select(house.resolve(to), house.resolve(exclude))
    assert chosen == [f"connection of {name}" for name in selected]
    assert house.rooms.presence("tea") == 2, "selecting changes nothing"


def test_one_client_is_selected_by_itself(house):
    assert house.rooms.select(house["b"]) == ["connection of b"]
    assert house.rooms.select(None, house["b"]) == [f"connection of {name}" for name in "acd"]


def test_any_iterable_of_clients_will_do(house):
    clients = [house["b"], house["c"]]
    for made in (iter, set, tuple, dict.fromkeys):
        assert sorted(house.rooms.select(made(clients))) == ["connection of b", "connection of c"]
        assert house.rooms.select(clients, made(clients)) == []


def test_clients_that_have_left_are_passed_over(house):
    house.join("ab", "tea")
    house.rooms.remove(house["a"])
    for targets in (house["a"], [house["a"]], iter([house["a"]])):
        assert house.rooms.select(targets) == []
    assert house.rooms.select("tea") == ["connection of b"]
    assert len(house.rooms.select(None, exclude=house["a"])) == 3


@pytest.mark.parametrize("targets", [[1], [None], ["tea"]])
def test_what_is_no_client_is_a_clear_error(house, targets):
    house.join("a", "tea")
    with pytest.raises(TypeError, match="a client is needed"):
        house.rooms.select(targets)
    with pytest.raises(TypeError, match="a client is needed"):
        house.rooms.select(None, exclude=targets)


def test_a_client_may_leave_while_it_is_selected(house):
    class Leaving(Guest):
        """It leaves as soon as it was found once."""

        found = 0

        def __hash__(self):
            self.found += 1
            if self.found == 2:
                house.rooms.remove(house["a"])
            return 1

    client = house.guests["a"] = Leaving("a")
    house.rooms.enter(client, "connection of a")
    client.found = 0
    assert house.rooms.select([client]) in ([], ["connection of a"])


def test_joining_while_the_client_leaves_keeps_nothing_of_it():
    """Whichever of the two comes first, in many threads at once."""
    rooms = Rooms(lambda *counted: None)
    guests = [Guest(str(number)) for number in range(200)]
    for client in guests:
        rooms.enter(client, object())
    start = threading.Barrier(2)

    def join():
        start.wait()
        for client in guests:
            rooms.join(client, "tea")
            rooms.join(client, "coffee")
            rooms.leave(client, "tea")

    def remove():
        start.wait()
        for client in guests:
            rooms.remove(client)

    threads = [threading.Thread(target=work) for work in (join, remove)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rooms.is_empty()


class AgainstModel(RuleBasedStateMachine):
    """The same steps as on a list of clients and a list of members for each room."""

    guests = tuple(Guest(str(number)) for number in range(4))
    names = st.sampled_from(["tea", "coffee", ""])
    clients = st.sampled_from(guests)

    def __init__(self):
        super().__init__()
        self.counted = {}
        self.rooms = Rooms(self.counted.__setitem__)
        self.here = []
        self.members = {}

    @rule(client=clients)
    def enter(self, client):
        if client not in self.here:  # a connection enters once
            self.rooms.enter(client, client.name)
            self.here.append(client)

    @rule(client=clients)
    def remove(self, client):
        self.rooms.remove(client)
        if client in self.here:
            self.here.remove(client)
        for room in list(self.members):
            self.take_out(client, room)

    @rule(client=clients, room=names)
    def join(self, client, room):
        self.rooms.join(client, room)
        if client in self.here and client not in self.members.setdefault(room, []):
            self.members[room].append(client)

    @rule(client=clients, room=names)
    def leave(self, client, room):
        self.rooms.leave(client, room)
        self.take_out(client, room)

    def take_out(self, client, room):
        if client in self.members.get(room, []):
            self.members[room].remove(client)

    @rule(to=names | st.none(), exclude=names | st.lists(clients))
    def select(self, to, exclude):
        among = self.here if to is None else self.members.get(to, [])
        without = self.members.get(exclude, []) if isinstance(exclude, str) else exclude
        if exclude == "":  # the default of `sendall`, which excludes nobody
            without = []
        expected = [client.name for client in among if client not in without]
        assert self.rooms.select(to, exclude) == expected

    @invariant()
    def agree(self):
        rooms = {room: members for room, members in self.members.items() if members}
        assert self.rooms.snapshot() == rooms
        assert list(self.rooms.clients) == self.here
        assert self.rooms.is_empty() is (not self.here)
        counts = {room: len(members) for room, members in rooms.items()}
        if self.here:
            counts[None] = len(self.here)
        assert {room: count for room, count in self.counted.items() if count} == counts


def test_any_steps_do_as_the_model():
    run_state_machine_as_test(AgainstModel)


def test_a_forked_child_has_nobody_and_tells_nothing(house):
    house.join("ab", "tea")
    house.told.clear()
    held = house.rooms.lock
    with held:  # by a thread that isn't in the child
        house.rooms.orphan()
    assert house.rooms.lock is not held
    assert (list(house.rooms.clients), house.rooms.presence("tea")) == ([], 0)
    house.rooms.enter(house["a"], "connection of a")
    assert house.told == []

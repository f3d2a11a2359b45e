"""Who is in a room: names, joining, leaving, typing; and clients that chat in lines."""

from __future__ import annotations

import json

import pytest

from chat import room
from tests.chat.talker import Talker
from tests.support.client import Client
from ws import ConnectionClosed


@pytest.mark.parametrize(("name", "shown"), [("  Ann \n Lee ", "Ann Lee"), ("\u200d", "Guest 1")])
def test_a_name_is_what_can_be_seen_of_it_or_a_guests(running, name, shown):
    with Talker(running.port, name, key="k") as ann:
        assert ann.welcome["name"] == shown


def test_joins_leaves_and_renames(running):
    with Talker(running.port, "Ann") as ann:
        assert ann.welcome["people"] == [{"id": ann.id, "name": "Ann"}]
        with Talker(running.port, "Bob") as bob:
            person = {"id": bob.id, "name": "Bob"}
            assert ann.recv() == {"type": "join", "person": person}
            assert bob.welcome["people"] == [{"id": ann.id, "name": "Ann"}, person]
            bob.send("rename", name="Bea")
            renamed = {"type": "rename", "person": {"id": bob.id, "name": "Bea"}}
            assert ann.recv() == bob.recv() == renamed
            bob.send("rename", name=" ")
            assert bob.recv()["code"] == "name"
        assert ann.recv() == {"type": "leave", "person": {"id": bob.id, "name": "Bea"}}


def test_one_person_with_two_connections_is_here_once(running):
    with Talker(running.port, "Ann") as ann:
        with Talker(running.port, "Bob", key="b") as bob:
            ann.get("join")
            with Talker(running.port, "Bea", key="b") as again:
                assert again.id == bob.id
                assert len(again.welcome["people"]) == 2
                assert ann.recv() == {"type": "rename", "person": {"id": bob.id, "name": "Bea"}}
            bob.say("the other one has gone", "1")
            assert ann.recv()["type"] == "message"
        assert ann.recv()["type"] == "leave"


def test_a_client_goes_from_room_to_room(running):
    with Talker(running.port, "Ann") as ann, Talker(running.port, "Bob") as bob:
        ann.get("join")
        bob.enter("Bob", "kitchen", "Bob")
        assert ann.recv()["type"] == "leave"
        bob.say("in the kitchen", "1")
        assert ann.silent()
        bob.enter("Bob", " LOBBY ", "Bob")
        assert bob.welcome["room"] == "LOBBY"


def test_a_key_stays_a_secret(running):
    with Talker(running.port, key="open sesame") as ann, Talker(running.port, "Bob") as bob:
        assert "sesame" not in json.dumps([ann.welcome, bob.welcome])


def test_typing(running):
    with Talker(running.port, "Ann") as ann, Talker(running.port, "Bob") as bob:
        bob.send("typing")
        ann.get("join")
        assert ann.recv() == {"type": "typing", "person": {"id": bob.id, "name": "Bob"}}
        assert bob.silent()


def test_rooms_and_people_are_bounded(unhurried, monkeypatch):
    monkeypatch.setattr(room, "MAX_ROOMS", 2)
    monkeypatch.setattr(room, "MAX_PEOPLE", 2)
    port = unhurried.port
    with Talker(port, "Ann", "1") as ann, Talker(port, "Bob", "2") as bob:
        bob.send("hello", name="Bob", room="3", id="h")
        error = bob.recv()
        assert (error["code"], error["id"]) == ("full", "h")
        bob.say("still in the old one", "1")
        with Talker(port, "Cy", "1"), Client(port, "/?room=1") as dan:
            with pytest.raises(ConnectionClosed) as refusal:
                dan.recv()
            assert str(refusal.value) == "1013 This room is full; try another one."
        ann.get("leave")
        bob.enter("Bob", "1", "Bob")


def test_plain_clients_chat_in_lines(running):
    with Client(running.port, "/?name=Ann") as ann, Talker(running.port, "Bob") as bob:
        assert ann.recv() == "* Bob joined"
        ann.send("hello,\nBob")
        assert bob.recv()["text"] == "hello,\nBob"
        assert ann.recv() == "Ann: hello,\n  Bob"
        bob.say("hello", "1")
        assert ann.recv() == "Bob: hello"
        bob.send_file(b"x", name="notes.txt")
        assert ann.recv() == "Bob: [notes.txt]"
        with Client(running.port) as newcomer:
            lines = [newcomer.recv() for _ in range(3)]
            assert lines == ["Ann: hello,\n  Bob", "Bob: hello", "Bob: [notes.txt]"]
            assert ann.recv() == "* Guest 3 joined"
        assert ann.recv() == "* Guest 3 left"
        with Client(running.port, "/?room=kitchen&name=Cy") as cy:
            cy.send("alone")
            assert cy.recv() == "Cy: alone"


def test_a_plain_client_may_say_hello_and_gets_events_from_then_on(running):
    with Client(running.port, "/?room=kitchen") as client, Talker(running.port, "Bob") as bob:
        client.send(json.dumps({"type": "hello", "name": "Ann"}))
        assert json.loads(client.recv())["name"] == "Ann"
        assert bob.recv()["type"] == "join"
        said = bob.say("hello", "1")
        assert json.loads(client.recv()) == said
        client.send(json.dumps({"type": "ping"}))
        assert json.loads(client.recv()) == {"type": "pong"}


def test_plain_clients_do_not_see_who_is_typing_or_renamed(running):
    with Client(running.port, "/?name=Ann") as ann, Talker(running.port, "Bob") as bob:
        assert ann.recv() == "* Bob joined"
        bob.send("typing")
        bob.send("rename", name="Bea")
        bob.say("hello", "1")
        assert ann.recv() == "Bea: hello"


def test_a_fragmented_message_is_one_message(running):
    with Client(running.port, "/?name=Ann") as ann:
        ann.send(["in ", "pieces"])
        assert ann.recv() == "Ann: in pieces"

"""The chat on several nodes: what is said on one is said on all, once, whoever dies."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from typing import Any

import pytest

from tests.cluster.programs import Node, wait_for
from tests.support.wsclient import connect


class Closed(Exception):
    """The server has closed: (code, reason)."""


class Person:
    """A client that says hello, and keeps what it hears."""

    room = ""
    """Each test has one of its own."""

    def __init__(self, node: Node, name: str, room: str = "") -> None:
        self.name, self.room = name, room or self.room
        self.key = f"key of {name}"
        self.seen, self.history = 0, ""
        self.enter(node)

    def enter(self, node: Node) -> None:
        self.socket = connect(node.port, "/", "Sec-WebSocket-Protocol: chat.v1")
        mine = {"key": self.key, "name": self.name, "room": self.room}
        self.send("hello", **mine, history=self.history, seen=self.seen)
        self.welcome = self.hear("welcome")
        self.history = self.welcome["history"]
        self.seen = self.seen if self.welcome["resumed"] else 0
        for message in self.welcome["messages"]:
            self.seen = message["seq"]

    def send(self, kind: str, **event: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **event}))

    def say(self, text: str) -> None:
        """Say something, and wait until that is acknowledged."""
        self.send("say", text=text, id=text)
        assert self.hear("message")["text"] == text

    def hear(self, kind: str) -> dict[str, Any]:
        """Return the next event of a kind."""
        while True:
            message = self.socket.recv()
            if isinstance(message, tuple):
                raise Closed(message)
            event = json.loads(message)
            if event["type"] == "message":
                assert event["seq"] > self.seen
                self.seen = event["seq"]
            if event["type"] == kind:
                return dict(event)

    def leave(self) -> None:
        self.socket.close()

    def people(self) -> set[str]:
        return {person["name"] for person in self.welcome["people"]}


def texts(messages: list[dict[str, Any]]) -> list[str]:
    return [message["text"] for message in messages]


@pytest.fixture(autouse=True)
def room(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Person, "room", request.node.name[:40])


@pytest.fixture
def nodes(redis):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Node("--redis", redis.url)) for _ in range(2)]


def test_rooms_people_history_and_files_are_one(nodes):
    here, there = nodes
    ann, bob = Person(here, "Ann"), Person(there, "Bob")
    assert ann.hear("join")["person"]["name"] == "Bob"
    assert bob.people() == {"Ann", "Bob"}
    for number in range(5):
        ann.say(f"a{number}")
        assert bob.hear("message")["text"] == f"a{number}"
        bob.say(f"b{number}")
        assert ann.hear("message")["text"] == f"b{number}"
    ann.send("typing")
    assert bob.hear("typing")["person"]["name"] == "Ann"
    bob.send("rename", name="Bea")
    assert ann.hear("rename")["person"]["name"] == bob.hear("rename")["person"]["name"] == "Bea"
    head = json.dumps({"type": "file", "id": "f", "name": "x.bin"}).encode()
    ann.socket.send(head + b"\n" + bytes(1000))
    bob.send("get", file=bob.hear("message")["file"]["id"])
    assert bob.socket.recv().endswith(b"\n" + bytes(1000))
    late = Person(there, "Late")
    said = [f"{who}{number}" for number in range(5) for who in "ab"]
    assert texts([m for m in late.welcome["messages"] if "text" in m]) == said
    assert late.people() == {"Ann", "Bea", "Late"}
    late.send("older", before=late.welcome["messages"][2]["seq"])
    assert texts(late.hear("older")["messages"]) == said[:2]
    bob.leave()
    assert ann.hear("leave")["person"]["name"] == "Bea"
    assert Person(here, "Eve", room="coffee").welcome["messages"] == []


def test_who_comes_back_to_another_node_gets_what_it_missed(nodes):
    here, there = nodes
    ann, bob = Person(here, "Ann"), Person(here, "Bob")
    ann.say("before")
    assert bob.hear("message")["text"] == "before"
    bob.leave()
    for number in range(3):
        ann.say(f"missed {number}")
    bob.enter(there)
    assert bob.welcome["resumed"]
    assert texts(bob.welcome["messages"]) == [f"missed {number}" for number in range(3)]
    ann.say("after")
    assert bob.hear("message")["text"] == "after"


def test_what_is_sent_twice_to_two_nodes_is_said_once(nodes):
    here, there = nodes
    ann, bob = Person(here, "Ann"), Person(there, "Bob")
    ann.say("once")
    ann.leave()
    ann.enter(there)
    ann.send("say", text="once", id="once")
    event = json.loads(ann.socket.recv())
    assert (event["type"], event["text"]) == ("message", "once")  # acknowledged again
    ann.say("twice")
    assert [bob.hear("message")["text"] for _ in range(2)] == ["once", "twice"]


def test_who_was_on_a_node_that_is_killed_leaves(nodes):
    here, there = nodes
    ann, _bob = Person(here, "Ann"), Person(there, "Bob")
    ann.hear("join")
    there.kill()
    assert ann.hear("leave")["person"]["name"] == "Bob"


def test_while_redis_is_away_messages_wait_and_then_arrive_once(redis, nodes):
    here, there = nodes
    ann, bob = Person(here, "Ann"), Person(there, "Bob")
    ann.say("kept")
    redis.kill()
    ann.send("say", text="waits", id="waits")
    refused = ann.hear("error")
    if refused["id"] == "kept":  # it was, but Redis was killed before it could say so
        refused = ann.hear("error")
    assert (refused["code"], refused["id"]) == ("store", "waits") and refused["retry"] > 0
    redis.start()

    def said() -> bool:
        ann.send("say", text="waits", id="waits")
        event = json.loads(ann.socket.recv())
        time.sleep(0.3)  # or we would be told that we write too fast
        return event["type"] == "message"

    wait_for(said, "Redis doesn't come back")
    ann.say("goes on")
    assert [bob.hear("message")["text"] for _ in range(3)] == ["kept", "waits", "goes on"]
    assert here.output().count("no Redis") <= 2, here.output()  # of the chat, and the backplane


def test_a_redis_that_has_lost_everything_begins_a_new_history(redis, nodes):
    here, _ = nodes
    ann = Person(here, "Ann")
    ann.say("old")
    redis.kill()
    shutil.rmtree(redis.folder)
    os.mkdir(redis.folder)
    redis.start()
    with pytest.raises(Closed) as closed:
        ann.hear("never")
    assert closed.value.args[0][0] == 1012
    old = ann.history
    ann.enter(here)
    assert ann.history != old and not ann.welcome["resumed"]
    ann.say("new")


def test_workers_share_a_port_are_replaced_and_stop_together(redis):
    with Node("--redis", redis.url, "--workers", "3") as node:
        people = [Person(node, f"P{number}") for number in range(12)]
        people[0].say("to all workers")
        assert {person.hear("message")["text"] for person in people[1:]} == {"to all workers"}
        children = f"/proc/{node.process.pid}/task/{node.process.pid}/children"
        with open(children) as file:
            workers = [int(pid) for pid in file.read().split() if _is_worker(pid)]
        assert len(workers) == 3
        os.kill(workers[0], signal.SIGKILL)
        wait_for(lambda: "here is another" in node.output(), "the worker isn't replaced")
        for person in people:
            person.leave()
            person.enter(node)
        people[0].say("again")
        assert node.stop() == 0
        assert not [pid for pid in workers if os.path.exists(f"/proc/{pid}")]


def _is_worker(pid: str) -> bool:
    with open(f"/proc/{pid}/cmdline") as file:
        return "spawn_main" in file.read()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--workers", "2"), "--workers needs --redis"),
        (("--redis", "redis://127.0.0.1:1"), "can't use Redis"),
        (("--redis", "localhost"), "begins with redis://"),
        (("--redis", "redis://127.0.0.1:1", "--db", "x"), "not in both"),
        (("--workers", "0", "--redis", "redis://127.0.0.1"), "--workers"),
    ],
)
def test_what_can_t_be_is_said_in_one_sentence(arguments, complaint):
    with pytest.raises(AssertionError, match=complaint):
        Node(*arguments)

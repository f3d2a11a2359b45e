"""The chat on several nodes: a message reaches all of them, once, whichever node dies."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time

import pytest

from tests.cluster.programs import Node
from tests.support.chatclient import ChatClient, texts
from tests.support.processes import StartError
from tests.support.waiting import eventually
from ws import ConnectionClosed

PRESENCE_SECONDS = 60.0
"""How long others may show somebody whose node was killed: 15 s, longer on a busy machine."""


@pytest.fixture
def nodes(redis):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Node("--redis", redis.url)) for _ in range(2)]


def test_rooms_people_history_and_files_are_one(nodes):
    here, there = nodes
    ann, bob = ChatClient(here.port, "Ann"), ChatClient(there.port, "Bob")
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
    ann.send_file(bytes(1000), id="f", name="x.bin")
    bob.send("get", file=bob.hear("message")["file"]["id"])
    assert bob.recv()[1] == bytes(1000)
    late = ChatClient(there.port, "Late")
    said = [f"{who}{number}" for number in range(5) for who in "ab"]
    assert texts([m for m in late.welcome["messages"] if "text" in m]) == said
    assert late.people() == {"Ann", "Bea", "Late"}
    late.send("older", before=late.welcome["messages"][2]["seq"])
    assert texts(late.hear("older")["messages"]) == said[:2]
    bob.leave()
    assert ann.hear("leave")["person"]["name"] == "Bea"
    assert ChatClient(here.port, "Eve", room="coffee").welcome["messages"] == []


def test_who_comes_back_to_another_node_gets_what_it_missed(nodes):
    here, there = nodes
    ann, bob = ChatClient(here.port, "Ann"), ChatClient(here.port, "Bob")
    ann.say("before")
    assert bob.hear("message")["text"] == "before"
    bob.leave()
    for number in range(3):
        ann.say(f"missed {number}")
    bob.enter(there.port)
    assert bob.welcome["resumed"]
    assert texts(bob.welcome["messages"]) == [f"missed {number}" for number in range(3)]
    ann.say("after")
    assert bob.hear("message")["text"] == "after"


def test_what_is_sent_twice_to_two_nodes_is_said_once(nodes):
    here, there = nodes
    ann, bob = ChatClient(here.port, "Ann"), ChatClient(there.port, "Bob")
    ann.say("once")
    ann.leave()
    ann.enter(there.port)
    ann.send("say", text="once", id="once")
    event = json.loads(ann.client.recv())
    assert (event["type"], event["text"]) == ("message", "once")  # acknowledged again
    ann.say("twice")
    assert [bob.hear("message")["text"] for _ in range(2)] == ["once", "twice"]


@pytest.mark.timeout(2 * PRESENCE_SECONDS)
def test_who_was_on_a_node_that_is_killed_leaves(nodes):
    here, there = nodes
    ann, _bob = ChatClient(here.port, "Ann"), ChatClient(there.port, "Bob")
    ann.hear("join")
    there.kill()
    assert ann.hear("leave", PRESENCE_SECONDS)["person"]["name"] == "Bob"


def test_while_redis_is_away_messages_wait_and_then_arrive_once(redis, nodes):
    here, there = nodes
    ann, bob = ChatClient(here.port, "Ann"), ChatClient(there.port, "Bob")
    ann.say("kept")
    redis.kill()
    ann.send("say", text="waits", id="waits")
    refused = ann.hear("error")
    if refused["id"] == "kept":  # it was stored, but Redis was killed before it could answer
        refused = ann.hear("error")
    assert (refused["code"], refused["id"]) == ("store", "waits") and refused["retry"] > 0
    redis.start()

    def said() -> bool:
        ann.send("say", text="waits", id="waits")
        event = json.loads(ann.client.recv())
        time.sleep(0.3)  # below the flood limit
        return event["type"] == "message"

    eventually(said, what="Redis doesn't come back")
    ann.say("goes on")
    assert [bob.hear("message")["text"] for _ in range(3)] == ["kept", "waits", "goes on"]
    assert here.output().count("no Redis") <= 2, here.output()  # of the chat, and the backplane


def test_a_redis_that_has_lost_everything_begins_a_new_history(redis, nodes):
    here, _ = nodes
    ann = ChatClient(here.port, "Ann")
    ann.say("old")
    redis.kill()
    shutil.rmtree(redis.folder)
    os.mkdir(redis.folder)
    redis.start()
    with pytest.raises(ConnectionClosed) as closed:
        ann.hear("never")
    assert closed.value.code == 1012
    old = ann.history
    ann.enter(here.port)
    assert ann.history != old and not ann.welcome["resumed"]
    ann.say("new")


def test_workers_share_a_port_are_replaced_and_stop_together(redis):
    with Node("--redis", redis.url, "--workers", "3") as node:
        people = [ChatClient(node.port, f"P{number}") for number in range(12)]
        people[0].say("to all workers")
        assert {person.hear("message")["text"] for person in people[1:]} == {"to all workers"}
        children = f"/proc/{node.process.pid}/task/{node.process.pid}/children"
        with open(children) as file:
            workers = [int(pid) for pid in file.read().split() if _is_worker(pid)]
        assert len(workers) == 3
        os.kill(workers[0], signal.SIGKILL)
        eventually(lambda: "here is another" in node.output(), what="the worker isn't replaced")
        for person in people:
            person.leave()
            person.enter(node.port)
        people[0].say("again")
        assert node.terminate() == 0
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
    with pytest.raises(StartError, match=complaint):
        Node(*arguments)

"""Floods: what they cost, what others notice of them, and how they end."""

from __future__ import annotations

import contextlib
import json
import sys
import time
import types

import pytest

from chat import credits, member, protocol, room
from chat.member import Member
from chat.protocol import Refused
from chat.room import Chat
from chat.server import make_server
from chat.store import Bounds, SQLiteStore
from tests.chat.talker import SUBPROTOCOL, Talker
from tests.support.client import Client
from tests.support.frames import TEXT, frame
from tests.support.heads import request
from tests.support.processes import PORT, SMALL_HEAP, ServerProgram, module
from tests.support.rawclient import RawClient, connect
from tests.support.waiting import DEADLINE, eventually
from ws import ConnectionClosed, HandshakeRefused

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 and /proc")
OTHER = "127.0.0.2"
"""Another address of this machine."""
HEAD = request("/", "Sec-WebSocket-Protocol: " + SUBPROTOCOL)
LONGEST = "🙂" * protocol.MAX_TEXT_CHARS


def refusals(client, send, times):
    """Send something many times; return the codes of the answers, up to that of a close."""
    codes = []
    for _ in range(times):
        send()
    while len(codes) < times:
        try:
            codes.append(client.recv().get("code"))
        except ConnectionClosed as closed:
            return [*codes, closed.code]
    return codes


# How a flood ends


@pytest.mark.parametrize(
    ("kind", "fields", "code"),
    [
        ("rename", {"name": " "}, "name"),
        ("say", {"text": ""}, "empty"),
        ("say", {"text": "x" * 5000}, "long"),
        ("older", {}, "older"),
    ],
)
def test_a_client_that_is_refused_too_often_is_closed(running, kind, fields, code):
    with Talker(running.port) as ann:
        codes = refusals(ann, lambda: ann.send(kind, **fields), 100)
        assert codes[:10] == [code] * 10
        assert codes[10:11] == [1008]


def test_a_flood_of_requests_ends_in_a_close(running):
    with Talker(running.port) as ann, Talker(running.port, "Bob", "kitchen") as bob:
        codes = refusals(ann, lambda: ann.send("say", text="flood"), 200)
        assert codes[-1] == 1008
        assert codes.count("slow") == member.MAX_REFUSALS
        assert bob.silent()


def test_before_hello_it_ends_so_too(running):
    with Client(running.port, subprotocols=SUBPROTOCOL) as client:
        for _ in range(20):
            client.send("not yet")
        answers = [client.recv() for _ in range(10)]
        assert [json.loads(answer)["code"] for answer in answers] == ["hello"] * 10
        with pytest.raises(ConnectionClosed, match="1008"):
            client.recv()


def test_what_a_client_could_not_know_is_not_held_against_it(running):
    with Talker(running.port) as ann:
        codes = refusals(ann, lambda: ann.send("get", file="0" * 64), 50)
        assert codes == ["gone"] * 50
        assert ann.silent()


def test_a_client_that_waits_as_it_is_told_is_never_closed(monkeypatch):
    clock = types.SimpleNamespace(now=1000.0)
    monkeypatch.setattr(credits.time, "monotonic", lambda: clock.now)
    client = types.SimpleNamespace(data={"account": None}, subprotocol=SUBPROTOCOL)
    ann = Member(client)
    for _ in range(300):
        refusal = Refused("slow", "Wait.", 0.01)
        assert not ann.blame(refusal)
        clock.now += refusal.retry_seconds
    for _ in range(3 * member.MAX_REFUSALS):
        clock.now += 60 / member.MAX_REFUSALS
        assert not ann.blame(Refused("name", "A name needs a letter."))


# Whose credits they are


@pytest.fixture
def poor(monkeypatch, serve):
    """A chat whose addresses have few credits."""
    monkeypatch.setattr(credits, "WORK_CREDITS", 40.0)
    monkeypatch.setattr(credits, "WORK_CREDITS_PER_SECOND", 0.5)
    return serve()


@on_linux
def test_a_reconnect_does_not_renew_them(poor):
    with Talker(poor.port, "Ann") as ann:
        codes = refusals(ann, ann.older, 20)
        assert "slow" in codes, codes
    with RawClient(poor.port, HEAD) as again:
        assert again.status == 429
        assert "Retry-After: " in again.response
    with Client(poor.port, source=OTHER) as plain:
        plain.send("from elsewhere")
        assert plain.recv() == "Guest 2: from elsewhere"


def test_many_connections_share_them(poor):
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Talker(poor.port, str(n), str(n))) for n in range(3)]
        codes = [refusals(client, client.older, 4) for client in clients]
        assert codes[0] == [None] * 4
        assert codes[2] == ["slow"] * 4


def test_what_many_get_costs_more(serve, monkeypatch):
    monkeypatch.setattr(credits, "WORK_CREDITS", 200.0)
    monkeypatch.setattr(credits, "WORK_CREDITS_PER_SECOND", 0.5)
    monkeypatch.setattr(room, "DELIVERIES_PER_CREDIT", 0.5)
    alone, together = serve(), serve()
    with Talker(alone.port) as ann:
        assert "slow" not in refusals(ann, lambda: ann.send("say", text="x"), 15)
    with contextlib.ExitStack() as stack:
        people = [stack.enter_context(Talker(together.port, str(number))) for number in range(5)]
        for _ in range(15):
            people[-1].send("say", text="x")
        events = [people[-1].recv() for _ in range(15)]
        assert [event["type"] for event in events[:5]] == ["message"] * 5
        assert events[-1].get("code") == "slow"


def test_a_plain_client_that_only_connects_pays_too(poor):
    statuses = []
    for _ in range(20):
        with RawClient(poor.port, request("/")) as client:
            statuses.append(client.status)
    assert 101 in statuses
    assert statuses[-1] == 429


def test_a_hundred_people_behind_one_address_can_chat(serve):
    """They enter one room at once and greet each other; some have to wait for a moment."""
    port = serve().port
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        people = [stack.enter_context(Talker(port, f"P{number}")) for number in range(100)]
        for number, person in enumerate(people):
            person.send("say", text="Good morning", id=str(number))
            answer = person.get("error", "message")
            while answer["type"] == "error" or answer["id"] != str(number):
                if answer["type"] == "error":
                    assert answer["code"] == "slow"
                    time.sleep(answer["retry"])
                    person.send("say", text="Good morning", id=str(number))
                answer = person.get("error", "message")
        assert len(people[-1].welcome["people"]) == 100
    assert time.monotonic() - began < DEADLINE


# What others keep


@on_linux
def test_a_flood_from_one_address_does_not_push_out_what_others_said(serve, monkeypatch):
    """It would take hundreds of the longest messages; an address may store less at once."""
    monkeypatch.setattr(credits, "WORK_CREDITS", 1e12)  # which would bound it, too
    history = SQLiteStore(bounds=Bounds(message_bytes=2 * credits.TEXT_BYTES, file_bytes=1))
    port = serve(history).port
    with Talker(port, "Ann") as ann, Talker(port, "Bob", "kitchen") as bob:
        said = [ann.say("in the flooded room", "1"), bob.say("in another one", "1")]
    for _ in range(20):
        with contextlib.suppress(HandshakeRefused, ConnectionClosed, ConnectionError):
            eve = Talker(port, "Eve", source=OTHER)
            refusals(eve, lambda eve=eve: eve.send("say", text=LONGEST), 25)
            eve.client.close()
    for name, message in zip(("lobby", "kitchen"), said):
        assert message in history.after(name, 0, 10_000, 1 << 30).messages
    with Talker(port, "Ann") as ann:
        assert ann.say("it goes on", "2")


@on_linux
def test_one_address_can_not_fill_a_room(serve, monkeypatch):
    monkeypatch.setattr(room, "MAX_PEOPLE", 4)
    monkeypatch.setattr(room, "MAX_PEOPLE_OF_ADDRESS", 2)
    port = serve().port
    with Talker(port, "1") as one, Talker(port, "2"), Client(port, "/?room=else") as plain:
        plain.send(json.dumps({"type": "hello", "name": "3", "id": "h"}))
        assert plain.recv() == "* Not sent: This room is full; try another one."
        plain.send("it stays a plain client, in its room")
        assert plain.recv() == "Guest 3: it stays a plain client, in its room"
        with Talker(port, "4", source=OTHER) as four:
            assert len(four.welcome["people"]) == 3
            four.say("others get in", "1")
        one.enter("1", "lobby", "1")
        assert {person["name"] for person in one.welcome["people"]} == {"1", "2"}


@on_linux
def test_one_address_can_not_take_all_places():
    server = make_server("127.0.0.1", 0, max_clients=44)
    Chat(server, SQLiteStore())
    with server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(server.port, HEAD)) for _ in range(12)]
        assert [client.status for client in clients] == [101] * 11 + [429]
        with RawClient(server.port, HEAD, source=OTHER) as other:
            assert other.status == 101


# What a flood costs


@pytest.fixture(scope="module")
def program():
    """The chat as a process, whose time and memory can be measured."""
    if sys.platform != "linux":
        pytest.skip("measured in /proc")
    command = module("chat", PORT, "--host", "127.0.0.1")
    with ServerProgram(command, env=SMALL_HEAP) as program:
        yield program


ADDRESSES = (f"127.1.{a}.{b}" for a in range(1, 255) for b in range(1, 255))
"""Each for few clients, who so always have credits."""

COSTLY = {
    "an id of 65,000": {"type": "say", "id": "a" * 65_000},
    "a text of 65,000": {"type": "say", "text": "a" * 65_000},
    "a name of 65,000": {"type": "rename", "name": "a" * 65_000},
    "a room of 65,000": {"type": "hello", "room": "é" * 10_000},
    "an unknown request": {"type": "none", "x": "a" * 65_000},
    "the longest text": {"type": "say", "text": LONGEST},
}
FAIR_SECONDS = 0.004
"""CPU time for a message of 64 KiB. A tenth of that is usual; cleaning all of it took 7 ms and more
on the same machine, when nothing else ran."""


@pytest.mark.parametrize("message", COSTLY.values(), ids=list(COSTLY))
def test_no_request_costs_much(program, message):
    data = json.dumps(message)
    peers = [Talker(program.port, room=str(n), source=next(ADDRESSES)) for n in range(30)]
    for peer in peers:
        assert peer.silent()
    before = program.cpu()
    for peer in peers:
        for _ in range(4):
            peer.client.send(data)
        peer.send("ping")
        peer.get("pong")
    assert program.cpu() - before < 4 * len(peers) * FAIR_SECONDS
    for peer in peers:
        peer.client.close()


def test_clients_that_have_not_said_hello_hold_little(program):
    """Unfinished messages of the longest kind, in text that takes four bytes for each character."""
    offer = "Sec-WebSocket-Extensions: permessage-deflate"
    fields = ("Sec-WebSocket-Protocol: " + SUBPROTOCOL, offer)
    text = ("🙂" + "a" * protocol.MAX_MESSAGE_BYTES).encode()[: protocol.MAX_MESSAGE_BYTES]
    data = frame(TEXT, text)[:-1]
    memory = program.usage()[0]
    peers = [connect(program.port, "/", *fields, source=next(ADDRESSES)) for _ in range(60)]
    for peer in peers:
        assert "extensions" not in peer.response.lower(), "nothing inflates"
        peer.send_frames(data)
    for peer in peers:  # they are answered while they hold it
        peer.send_frames(b"")
    eventually(lambda: program.usage()[0] - memory > 0)
    time.sleep(0.5)
    assert program.usage()[0] - memory <= 32
    for peer in peers:
        peer.close()
    with connect(program.port, "/", *fields) as peer:
        peer.send_frames(frame(TEXT, bytes(protocol.MAX_MESSAGE_BYTES + 1))[:20])
        assert peer.recv()[0] == 1009, "more isn't even waited for"

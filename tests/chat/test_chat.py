"""The chat, as a person starts it: `python -m chat`, or chat/chat.py from anywhere."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from chat import room, server, store
from tests.support.wsclient import (
    CONT,
    DEADLINE,
    TEXT,
    WSClient,
    connect,
    eventually,
    frame,
    popen,
    request,
)

ROOT = Path(__file__).resolve().parents[2]
MODULE = ("-m", "chat")
SUBPROTOCOL = "chat.v1"
SCRIPT = (str(ROOT / "chat" / "chat.py"),)
PNG = b"\x89PNG\r\n\x1a\n"


def start(*arguments, how=MODULE, cwd=ROOT):
    """Start the chat as a process."""
    command = [sys.executable, *how, *map(str, arguments)]
    return popen(command, cwd=str(cwd), universal_newlines=True)


@contextlib.contextmanager
def chatting(*arguments, **options):
    """Run the chat, with its `port` as the printed URL tells it."""
    process = start(*arguments, **options)
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        process.line = process.stdout.readline()
        url = re.search(r"(https?)://[\w.]+:(\d+)/", process.line)
        assert url, process.line or process.stderr.read()
        process.scheme, process.port = url.group(1), int(url.group(2))
        yield process
    finally:
        process.kill()
        process.communicate()
        watchdog.cancel()


@pytest.fixture
def process():
    with chatting(0) as process:
        yield process


@contextlib.contextmanager
def serving():
    """Run the chat in this process."""
    memory = store.Store()
    with contextlib.closing(memory), server.make_server("127.0.0.1", 0, store=memory) as running:
        yield running


@pytest.fixture
def running():
    with serving() as running:
        yield running


@pytest.fixture
def unhurried(monkeypatch):
    """A chat without flood control."""
    monkeypatch.setattr(room, "CREDIT", 1e9)
    with serving() as running:
        yield running


class Talker:
    """A client as the page is one."""

    def __init__(self, port, name="Ann", room="lobby", key="", **hello):
        self.client = connect(port, "/", "Sec-WebSocket-Protocol: " + SUBPROTOCOL)
        self.enter(name, room, key or name, **hello)

    def enter(self, name, room, key, **hello):
        self.send("hello", name=name, room=room, key=key, **hello)
        self.welcome = self.get("welcome")
        self.id = self.welcome["you"]

    def send(self, kind, **fields):
        self.client.send(json.dumps({"type": kind, **fields}))

    def send_file(self, content, **header):
        self.client.send(json.dumps({"type": "file", **header}).encode() + b"\n" + content)

    def recv(self):
        """Return the next event; of a file, the header and the content."""
        message = self.client.recv()
        if isinstance(message, tuple):
            return message
        if isinstance(message, str):
            return json.loads(message)
        head, _, content = message.partition(b"\n")
        return json.loads(head.decode()), content

    def get(self, kind):
        """Return the next event of a kind, and forget those before."""
        while True:
            event = self.recv()
            if not isinstance(event, dict):
                raise AssertionError(event)
            if event["type"] == kind:
                return event

    def say(self, text, id):
        """Say something and wait until it is back."""
        self.send("say", text=text, id=id)
        while True:
            message = self.get("message")
            if (message["from"], message["id"]) == (self.id, id):
                return message

    def silent(self):
        """Say that nothing more has come, by what comes next."""
        self.send("ping")
        event = self.recv()
        assert event == {"type": "pong"}, event
        return True

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.client.close()


def texts(event):
    return [message["text"] for message in event["messages"]]


def refused(*arguments):
    """Return the one sentence with which the chat refuses to start."""
    process = start(*arguments)
    try:
        out, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    assert (process.returncode, out) == (2, "")
    assert re.match(r"chat: .+\n\Z", err), err
    return err


def fetch(port, path="/", method="GET"):
    """Return the response to a plain HTTP request, and its body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request(method, path)
        response = connection.getresponse()
        return response, response.read()


# Messages


def test_what_one_says_everyone_in_the_room_gets(running):
    with Talker(running.port, "Ann") as ann, Talker(running.port, "Bob") as bob:
        said = ann.say("hello, <b>world</b> 👋\n  as it stands", "1")
        assert bob.recv() == said
        assert said["name"] == "Ann"
        assert said["text"] == "hello, <b>world</b> 👋\n  as it stands"
        assert abs(said["time"] / 1000 - time.time()) < DEADLINE
        with Talker(running.port, "Cy", "kitchen") as cy:
            ann.say("again", "2")
            assert cy.silent()
            assert cy.welcome["messages"] == []


def test_a_newcomer_gets_the_last_messages_and_older_ones_on_demand(unhurried):
    with Talker(unhurried.port) as ann:
        said = [f"message {number}" for number in range(120)]
        say_all(ann, said)
        with Talker(unhurried.port, "Bob") as bob:
            assert (texts(bob.welcome), bob.welcome["more"]) == (said[70:], True)
            bob.send("older", before=bob.welcome["messages"][0]["seq"])
            page = bob.recv()
            assert (texts(page), page["more"]) == (said[20:70], True)
            bob.send("older", before=page["messages"][0]["seq"])
            page = bob.recv()
            assert (texts(page), page["more"]) == (said[:20], False)


def say_all(talker, said):
    for number, text in enumerate(said):
        talker.send("say", text=text, id=f"all {number}")
    for text in said:
        assert talker.get("message")["text"] == text


def test_a_client_gets_exactly_what_it_missed(running):
    with Talker(running.port, "Ann") as ann, Talker(running.port, "Bob") as bob:
        ann.say("before", "1")
        last = bob.get("message")
        bob.client.close()
        ann.get("leave")
        ann.say("meanwhile", "2")
        ann.say("and then", "3")
        known = {"history": bob.welcome["history"], "seen": last["seq"]}
        with Talker(running.port, "Bob", **known) as back:
            assert back.welcome["resumed"] is True
            assert texts(back.welcome) == ["meanwhile", "and then"]
        with Talker(running.port, "Bob", history="another", seen=last["seq"]) as lost:
            assert lost.welcome["resumed"] is False
            assert texts(lost.welcome) == ["before", "meanwhile", "and then"]


def test_who_missed_too_much_is_greeted_anew(unhurried):
    with Talker(unhurried.port) as ann:
        said = [str(number) for number in range(room.RESUMPTION + 1)]
        say_all(ann, said)
        known = {"history": ann.welcome["history"]}
        with Talker(unhurried.port, "Bob", seen=1, **known) as bob:
            assert bob.welcome["resumed"] is True
            assert texts(bob.welcome) == said[1:]
        with Talker(unhurried.port, "Bob", seen=0, **known) as bob:
            assert bob.welcome["resumed"] is False
            assert texts(bob.welcome) == said[-room.GREETING :]


def test_what_is_sent_twice_is_stored_once_and_acknowledged_again(running):
    with Talker(running.port, "Ann") as ann, Talker(running.port, "Bob") as bob:
        said = ann.say("once", "1")
        assert ann.say("once", "1") == said
        assert bob.recv() == said
        assert bob.silent()
        assert bob.say("an id of another person", "1")["seq"] > said["seq"]
        with Talker(running.port, "Ann") as again:  # whose answer was lost with the connection
            assert again.say("once", "1") == said


def test_everyone_sees_the_same_order_whenever_they_came():
    """Six talk at once while newcomers arrive: nothing is missed, doubled or out of order."""
    said = {f"{talker} {count}" for talker in range(6) for count in range(15)}

    def talk(number):
        for count in range(15):
            talkers[number].send("say", text=f"{number} {count}")

    def listen(number):
        return [talkers[number].get("message") for _ in said]

    def arrive(number):
        with Talker(running.port, f"late {number}") as late:
            heard = late.welcome["messages"]
            while not heard or heard[-1]["text"] != "the end":
                heard.append(late.get("message"))
            return heard

    with serving() as running, ThreadPoolExecutor(64) as pool:
        talkers = [Talker(running.port, str(number)) for number in range(6)]
        heard = [pool.submit(listen, number) for number in range(6)]
        for number in range(6):
            pool.submit(talk, number)
        newcomers = [pool.submit(arrive, number) for number in range(30)]
        order = heard[0].result()
        end = talkers[0].say("the end", "end")
        assert {message["text"] for message in order} == said
        assert all(future.result() == order for future in heard)
        for future in newcomers:
            messages = future.result()
            assert messages == [*order, end][-len(messages) :]
            assert len(messages) >= room.GREETING
        for talker in talkers:
            talker.client.close()


@pytest.mark.parametrize("nothing", ["", " ", "\n\t ", "\x1b\x00"])
def test_nothing_is_not_a_message(running, nothing):
    with Talker(running.port) as ann:
        ann.send("say", text=nothing, id="1")
        assert ann.recv() == {
            "type": "error",
            "code": "empty",
            "text": "There is nothing in it.",
            "retry": 0,
            "id": "1",
        }


@pytest.mark.parametrize(
    "message",
    [
        "just text",
        "[1, 2]",
        "{no JSON",
        '{"type": "unknown"}',
        '{"type": ["say"]}',
        '{"text": "no type"}',
        '{"type": "file"}',
        "{" * 9000,
        '{"a":' * 5000,
        "9" * 4000,
    ],
)
def test_text_that_is_not_ours_is_a_message_as_it_stands(running, message):
    with Talker(running.port) as ann:
        ann.client.send(message)
        event = ann.recv()
        if len(message) <= room.MAX_TEXT:
            assert event["text"] == message
        else:
            assert event["code"] == "long"


@pytest.mark.parametrize("kind", ["say", "typing", "rename", "older", "get"])
def test_hello_comes_first(running, kind):
    with connect(running.port, "/", "Sec-WebSocket-Protocol: " + SUBPROTOCOL) as client:
        client.send(json.dumps({"type": kind, "text": "x", "id": "7"}))
        error = json.loads(client.recv())
        assert (error["code"], error["id"]) == ("hello", "7")


@pytest.mark.parametrize("value", [None, 1, -1, 10**30, 1.5, True, "", "x", [], {}, {"a": [1]}])
def test_a_field_of_the_wrong_kind_harms_nobody(running, value):
    """Whatever a field holds, the answer is an event, and the connection lives on."""
    fields = {"name", "room", "key", "history", "seen", "text", "id", "before", "file", "start"}
    with Talker(running.port) as ann:
        for kind in ("say", "typing", "rename", "older", "get", "ping", "hello"):
            ann.send(kind, **dict.fromkeys(fields, value))
        ann.send_file(PNG, **dict.fromkeys(("id", "name", "width", "height"), value))
        ann.get("welcome")
        ann.enter("Ann", "lobby", "Ann")
        assert ann.say("still here", "last")


# Names, texts and rooms


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("  Ann \n Lee ", "Ann Lee"),
        ("\x1b[31mAnn\x00", "[31mAnn"),
        ("nnA\u202e\u2066", "nnA"),
        ("A\u200b\ufeffnn", "Ann"),
        ("\ud800", "Guest 1"),
        ("\u200d", "Guest 1"),
        ("", "Guest 1"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("שרה", "שרה"),
        ("x" * 41, "x" * 40),
    ],
)
def test_a_name_is_one_short_line_of_what_can_be_seen(running, name, shown):
    with Talker(running.port, name, key="k") as ann:
        assert ann.welcome["name"] == shown


def test_text_has_no_control_characters(running):
    with Talker(running.port) as ann:
        assert ann.say("a\x1b[2J\r\n\tb\x7f\x9b\ud83d", "1")["text"] == "a[2J\n\tb"


@pytest.mark.parametrize("character", ["x", "é", "🙂", '"'])
def test_the_longest_text(running, character):
    with Talker(running.port) as ann:
        longest = character * room.MAX_TEXT
        assert ann.say(longest, "1")["text"] == longest
        ann.send("say", text=longest + "x", id="2")
        error = ann.recv()
        assert (error["code"], error["id"], error["retry"]) == ("long", "2", 0)


def test_a_history_of_the_longest_messages_reaches_a_newcomer(unhurried):
    with Talker(unhurried.port) as ann:
        said = [f"{number:02}" + "🙂" * (room.MAX_TEXT - 2) for number in range(room.RESUMPTION)]
        say_all(ann, said)
        with Talker(unhurried.port, "Bob", history=ann.welcome["history"], seen=0) as bob:
            assert texts(bob.welcome) == said


# Who is here


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


# Plain clients


def test_plain_clients_chat_in_lines(running):
    with connect(running.port, "/?name=Ann") as ann, Talker(running.port, "Bob") as bob:
        assert ann.recv() == "* Bob joined"
        ann.send("hello,\nBob")
        assert bob.recv()["text"] == "hello,\nBob"
        assert ann.recv() == "Ann: hello,\n  Bob"
        bob.say("hello", "1")
        assert ann.recv() == "Bob: hello"
        bob.send_file(b"x", name="notes.txt")
        assert ann.recv() == "Bob: [notes.txt]"
        with connect(running.port) as newcomer:
            lines = [newcomer.recv() for _ in range(3)]
            assert lines == ["Ann: hello,\n  Bob", "Bob: hello", "Bob: [notes.txt]"]
            assert ann.recv() == "* Guest 3 joined"
        assert ann.recv() == "* Guest 3 left"
        with connect(running.port, "/?room=kitchen&name=Cy") as cy:
            cy.send("alone")
            assert cy.recv() == "Cy: alone"


def test_a_plain_client_may_say_hello(running):
    with connect(running.port) as client:
        client.send(json.dumps({"type": "hello", "name": "Ann"}))
        assert json.loads(client.recv())["name"] == "Ann"


def test_a_fragmented_message_is_one(running):
    with connect(running.port, "/?name=Ann") as ann:
        ann.send_frames(frame(TEXT, b"in ", fin=False), frame(CONT, b"pieces"))
        assert ann.recv() == "Ann: in pieces"


# Files


def fetch_file(talker, name):
    """Return a file's content, piece by piece."""
    content = b""
    while True:
        talker.send("get", file=name, start=len(content))
        header, piece = talker.recv()
        assert (header["type"], header["file"]) == ("file", name)
        assert header["start"] == len(content)
        content += piece
        if len(content) == header["size"]:
            return content


def test_a_file_arrives_byte_for_byte(running):
    content = os.urandom(room.PIECE * 2 + 1)
    with Talker(running.port, "Ann") as ann, Talker(running.port, "Bob") as bob:
        ann.send_file(content, id="1", name="a b.bin", width=3, height=4)
        message = bob.recv()
        assert (message["id"], message["from"]) == ("1", ann.id)
        file = message["file"]
        assert fetch_file(bob, file["id"]) == content
        assert (file["name"], file["size"], file["width"]) == ("a b.bin", len(content), 3)
        bob.send("get", file="0" * 64)
        error = bob.recv()
        assert (error["code"], error["file"]) == ("gone", "0" * 64)


def test_the_largest_file(running):
    with Talker(running.port, "Ann") as ann:
        ann.send_file(b"x" * room.MAX_FILE, id="1", name="large")
        assert ann.get("message")["file"]["size"] == room.MAX_FILE
        for size, code in ((0, "size"), (room.MAX_FILE + 1, "size")):
            with Talker(running.port, "Bob") as bob:
                bob.send_file(b"x" * size, id="2", name="none")
                error = bob.get("error")
                assert (error["code"], error["id"]) == (code, "2")
        with Talker(running.port, "Cy", "kitchen") as cy:
            cy.client.send(bytes(room.MAX_FILE + room.MAX_REQUEST + 1))
            assert cy.recv()[0] == 1009


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"\0\0\0\x20ftypavif", "image/avif"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
        (b"<!doctype html><script>alert(1)</script>", None),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"%PDF-1.7", None),
        (b"\0", None),
    ],
)
def test_only_known_images_are_images(content, kind):
    assert room.file_type(content) == (kind or "application/octet-stream")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("cat.png", "cat.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\evil.exe", "evil.exe"),
        ("gpj.\u202eexe", "gpj.exe"),
        ("a\x00b\n.txt", "ab .txt"),
        ('<"|?*:>.txt', "_______.txt"),
        (".bashrc", "bashrc"),
        ("name. . ", "name"),
        ("..", "file"),
        ("", "file"),
        (None, "file"),
        ("x" * 200 + ".jpeg", "x" * 80 + ".jpeg"),
        ("x" * 200, "x" * 100),
        ("a." + "x" * 200, "a." + "x" * 19),
    ],
)
def test_a_file_name_is_safe(name, safe):
    assert room.file_name(name) == safe


@pytest.mark.parametrize("message", [b"", b"\0\1", b"\n", b"{}\nx", b'{"type": "say"}\nx'])
def test_other_binary_messages_are_refused(running, message):
    with Talker(running.port) as ann:
        ann.client.send(message)
        assert ann.recv()["code"] == "file"
        assert ann.silent()


# Floods and bounds


def test_a_flood_is_slowed_down_with_a_notice(running):
    with Talker(running.port, "Ann") as ann, Talker(running.port, "Bob") as bob:
        at_once = int(room.CREDIT) + 10
        for number in range(at_once):
            ann.send("say", text=str(number), id=str(number))
        answers = [ann.recv() for _ in range(at_once + 1)]
        slow = [answer for answer in answers if answer["type"] == "error"]
        stored = [answer["id"] for answer in answers if answer["type"] == "message"]
        assert 5 <= len(slow) <= 11
        for error in slow:
            assert error["code"] == "slow"
            assert 0 < error["retry"] <= 1 / room.CREDIT_PER_SECOND + 0.1
            assert error["id"] not in stored
        bob.say("another one is not slowed down", "1")

        def again():
            ann.send("say", text="late", id=slow[0]["id"])
            return ann.recv()["type"] == "message"

        eventually(again)


def test_requests_that_are_no_messages_are_slowed_down_too():
    for kind, cost in room.COSTS.items():
        assert 0 < cost <= 1, kind
    with serving() as running, Talker(running.port) as ann:
        for _ in range(400):
            ann.send("ping")
        kinds = {ann.recv()["type"] for _ in range(400)}
        assert kinds == {"pong", "error"}


def test_rooms_and_people_are_bounded(unhurried, monkeypatch):
    monkeypatch.setattr(room, "MAX_ROOMS", 2)
    monkeypatch.setattr(room, "MAX_PEOPLE", 2)
    port = unhurried.port
    with Talker(port, "Ann", "1") as ann, Talker(port, "Bob", "2") as bob:
        bob.send("hello", name="Bob", room="3", id="h")
        error = bob.recv()
        assert (error["code"], error["id"]) == ("full", "h")
        bob.say("still in the old one", "1")
        with Talker(port, "Cy", "1"), connect(port, "/?room=1") as dan:
            assert dan.recv() == (1013, "This room is full; try another one.")
        ann.get("leave")
        bob.enter("Bob", "1", "Bob")


def test_the_history_is_bounded(tmp_path):
    bounds = store.Bounds(messages=3, message_bytes=1000, file_bytes=5000)
    for path in (None, str(tmp_path / "chat.db")):
        history = store.Store(path, bounds)

        def say(text, history=history):
            message = {"from": "ann", "id": os.urandom(4).hex(), "text": text}
            return history.add("lobby", message)[0]["seq"]

        def kept(history=history):
            return [message["text"] for message in history.after("lobby", 0, 10)]

        numbers = [say(text) for text in "abcd"]
        assert kept() == ["b", "c", "d"]
        say("x" * 880)
        assert kept() == ["d", "x" * 880]
        say("y" * 880)
        assert kept() == ["y" * 880]
        assert say("z") > numbers[-1]
        files = [history.add_file(bytes([n]) * 2000) for n in range(3)]
        assert [history.file(file) is None for file in files] == [True, False, False]
        tiny = [history.add_file(bytes([n])) for n in range(10)]
        assert sum(history.file(file) is not None for file in tiny) == 4
        history.close()


# The database


def test_history_outlives_a_sigkill(tmp_path):
    db = tmp_path / "chat.db"
    content = PNG + os.urandom(1000)
    with chatting(0, "--db", db) as process:
        with Talker(process.port, "Ann") as ann:
            said = [ann.say(str(number), str(number)) for number in range(10)]
            ann.send_file(content, id="file", name="cat.png")
            image = ann.get("message")
            process.kill()
            process.wait()
        history = ann.welcome["history"]
    seen = said[4]["seq"]
    with chatting(0, "--db", db) as process, Talker(
        process.port, history=history, seen=seen
    ) as ann:
        assert ann.welcome["resumed"] is True
        assert ann.welcome["messages"] == [*said[5:], image]
        assert fetch_file(ann, image["file"]["id"]) == content
        assert ann.say("9", "9") == said[9]
        assert ann.say("on", "10")["seq"] > image["seq"]


def test_another_history_does_not_resume(running):
    with Talker(running.port) as ann, chatting(0) as other:
        bob = Talker(other.port, history=ann.welcome["history"], seen=0)
        assert bob.welcome["resumed"] is False


def test_a_full_disk_loses_nothing_silently(monkeypatch, caplog):
    with serving() as running, Talker(running.port) as ann:
        add = store.Store._insert

        def full(*arguments):
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(store.Store, "_insert", full)
        ann.send("say", text="lost?", id="1")
        error = ann.recv()
        assert (error["code"], error["id"]) == ("store", "1")
        assert error["retry"] > 0
        assert "database or disk is full" in caplog.text
        monkeypatch.setattr(store.Store, "_insert", add)
        assert ann.say("lost?", "1")


@pytest.mark.parametrize("kind", ["text", "another", "folder", "missing folder"])
def test_a_database_that_is_none(tmp_path, kind):
    path = tmp_path / "x.db"
    if kind == "text":
        path.write_text("This is no database, whatever its name may say. " * 30)
    elif kind == "another":
        with contextlib.closing(sqlite3.connect(str(path))) as db:
            db.execute("CREATE TABLE messages (mine)")
    elif kind == "folder":
        path.mkdir()
    else:
        path = path / "chat.db"
    assert f"can't use {path}: " in refused(0, "--db", path)


def test_a_database_that_is_in_use(tmp_path):
    db = tmp_path / "chat.db"
    with chatting(0, "--db", db):
        assert f"can't use {db}: " in refused(0, "--db", db)


# Origins


@pytest.mark.parametrize(
    ("options", "origin", "status"),
    [
        ((), "null", 101),
        ((), "http://localhost", 101),
        ((), "https://elsewhere.example", 403),
        (("--origin", "https://elsewhere.example"), "https://elsewhere.example", 101),
        (("--origin", "https://elsewhere.example"), "null", 403),
        (("--origin", "https://elsewhere.example", "--origin", "null"), "null", 101),
        (("--origin", "self"), "null", 403),
        (("--origin", "self"), "http://localhost", 101),
        (("--origin", "*"), "https://elsewhere.example", 101),
    ],
)
def test_which_pages_may_connect(options, origin, status):
    head = request("/", "Origin: " + origin)
    with chatting(*options, 0) as process, WSClient(process.port, head) as client:
        assert client.status == status


# Pages


@pytest.mark.parametrize(
    ("path", "file", "content_type"),
    [
        ("/", "index.html", "text/html; charset=utf-8"),
        ("/index.html", "index.html", "text/html; charset=utf-8"),
        ("/?query", "index.html", "text/html; charset=utf-8"),
        ("/chat.css", "chat.css", "text/css; charset=utf-8"),
        *(
            (f"/{name}.js", f"{name}.js", "text/javascript; charset=utf-8")
            for name in server.SCRIPTS
        ),
    ],
)
def test_the_page_is_served_on_the_same_port(running, path, file, content_type):
    response, body = fetch(running.port, path)
    assert response.status == 200
    assert body == (ROOT / "chat" / "page" / file).read_bytes()
    assert response.getheader("Content-Type") == content_type
    assert response.getheader("X-Content-Type-Options") == "nosniff"
    policy = response.getheader("Content-Security-Policy").split("; ")
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= set(policy)
    assert "unsafe" not in " ".join(policy)
    head, nothing = fetch(running.port, path, "HEAD")
    assert (head.status, nothing) == (200, b"")
    assert sorted(head.getheaders()) == sorted(response.getheaders())


@pytest.mark.parametrize("path", ["/favicon.ico", "/server.py", "/../ws/server.py", "//index.html"])
def test_nothing_else_is_served(running, path):
    assert fetch(running.port, path)[0].status == 404


def test_pages_are_only_read(running):
    response, _ = fetch(running.port, "/", "POST")
    assert response.status == 405
    assert response.getheader("Allow") == "GET, HEAD"


def test_the_page_loads_nothing_from_elsewhere_and_never_makes_html_of_text():
    page = (ROOT / "chat" / "page" / "index.html").read_text("utf-8")
    links = set(re.findall(r"""(?:src|href)="(?!data:)([^"]*)\"""", page))
    assert links | {"index.html"} == set(server.FILES)
    for name in links:
        script = (ROOT / "chat" / "page" / name).read_text("utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval", script)
        assert not re.search(r"""https?://\w|url\(""", script)


# The process


def test_the_script_works_from_any_folder(tmp_path):
    with chatting(0, how=SCRIPT, cwd=tmp_path) as process, connect(process.port) as alice:
        alice.send("hello")
        assert alice.recv() == "Guest 1: hello"


def test_it_says_where_to_look(process):
    assert process.line == f"Chat on http://localhost:{process.port}/ (Ctrl-C ends it)\n"


def test_host_is_where_it_listens():
    with chatting("--host", "127.0.0.1", 0) as process:
        assert process.line.startswith(f"Chat on http://127.0.0.1:{process.port}/ ")


def test_a_certificate_makes_it_https_and_wss(tmp_path):
    authority = trustme.CA()
    cert, context = str(tmp_path / "cert.pem"), ssl.create_default_context()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(cert)
    authority.configure_trust(context)
    with chatting("--cert", cert, 0) as process:
        assert process.scheme == "https"
        with connect(process.port, context=context) as alice:
            alice.send("hello")
            assert alice.recv() == "Guest 1: hello"


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_it(process, name):
    with connect(process.port) as alice:
        alice.send("hello")
        assert alice.recv() == "Guest 1: hello"
        process.send_signal(getattr(signal, name))
        assert alice.recv()[0] == 1001
    out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_port_that_is_taken():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(1)
        port = sock.getsockname()[1]
        error = refused(port, "--host", "127.0.0.1")
    assert f"127.0.0.1 port {port}" in error


def test_a_host_that_is_not_this_machine():
    assert "192.0.2.1" in refused(0, "--host", "192.0.2.1")


def test_a_certificate_or_key_that_is_not_there(tmp_path):
    path = str(tmp_path / "missing.pem")
    assert path in refused(0, "--cert", path)
    assert path in refused(0, "--cert", __file__, "--key", path)


def test_a_certificate_that_is_none():
    assert f"{__file__}: not a certificate" in refused(0, "--cert", __file__)


@pytest.mark.parametrize(
    "arguments", [("http",), ("-1",), ("65536",), ("0", "--key", "key.pem"), ("0", "1")]
)
def test_arguments_that_make_no_sense(arguments):
    process = start(*arguments)
    out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out) == (2, "")
    assert "usage: " in err
    assert "Traceback" not in err

"""Messages and who gets them: history, order, repetition, floods."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from chat import member, protocol, room
from chat.store import SQLiteStore, StoreError
from tests.chat.talker import SUBPROTOCOL, Talker, texts
from tests.support.client import Client
from tests.support.waiting import DEADLINE


def test_a_message_reaches_everyone_in_the_room(running):
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
        ann.say_all(said)
        with Talker(unhurried.port, "Bob") as bob:
            assert (texts(bob.welcome), bob.welcome["more"]) == (said[70:], True)
            bob.send("older", before=bob.welcome["messages"][0]["seq"])
            page = bob.recv()
            assert (texts(page), page["more"]) == (said[20:70], True)
            bob.send("older", before=page["messages"][0]["seq"])
            page = bob.recv()
            assert (texts(page), page["more"]) == (said[:20], False)


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


def test_a_client_that_missed_too_much_is_welcomed_like_a_newcomer(unhurried):
    with Talker(unhurried.port) as ann:
        said = [str(number) for number in range(room.MAX_MISSED_MESSAGES + 1)]
        ann.say_all(said)
        known = {"history": ann.welcome["history"]}
        with Talker(unhurried.port, "Bob", seen=1, **known) as bob:
            assert bob.welcome["resumed"] is True
            assert texts(bob.welcome) == said[1:]
        with Talker(unhurried.port, "Bob", seen=0, **known) as bob:
            assert bob.welcome["resumed"] is False
            assert texts(bob.welcome) == said[-room.PAGE_MESSAGES :]


def test_the_history_of_another_server_does_not_resume(serve):
    here, there = serve(), serve()
    with Talker(here.port) as ann:
        known = {"history": ann.welcome["history"], "seen": 0}
        with Talker(here.port, "Bob", **known) as bob:
            assert bob.welcome["resumed"] is True
        with Talker(there.port, "Bob", **known) as bob:
            assert bob.welcome["resumed"] is False


def test_a_message_sent_twice_is_stored_once_and_acknowledged_again(running):
    with Talker(running.port, "Ann") as ann, Talker(running.port, "Bob") as bob:
        said = ann.say("once", "1")
        assert ann.say("once", "1") == said
        assert bob.recv() == said
        assert bob.silent()
        assert bob.say("an id of another person", "1")["seq"] > said["seq"]
        with Talker(
            running.port, "Ann"
        ) as again:  # the acknowledgement was lost with the connection
            assert again.say("once", "1") == said


def test_everyone_sees_the_same_order_whenever_they_enter(running):
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

    with ThreadPoolExecutor(64) as pool:
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
            assert len(messages) >= room.PAGE_MESSAGES
        for talker in talkers:
            talker.client.close()


class FullDisk(SQLiteStore):
    """A history that can't be written to while it is `full`."""

    full = True

    def add(self, room, message):
        if self.full:
            raise StoreError("database or disk is full")
        return super().add(room, message)


def test_a_message_that_could_not_be_stored_is_refused_and_can_be_sent_again(serve, caplog):
    store = FullDisk()
    with Talker(serve(store).port) as ann:
        ann.send("say", text="lost?", id="1")
        error = ann.recv()
        assert (error["code"], error["id"]) == ("store", "1")
        assert error["retry"] > 0
        assert "database or disk is full" in caplog.text
        store.full = False
        assert ann.say("lost?", "1")


class Unreadable(SQLiteStore):
    """A history that can't be read while it is `locked`."""

    locked = False

    def before(self, *arguments):
        if self.locked:
            raise StoreError("database is locked")
        return super().before(*arguments)


def test_what_can_not_be_read_is_not_said_to_be_not_stored(serve, caplog):
    store = Unreadable()
    with Talker(serve(store).port) as ann:
        store.locked = True
        ann.older()
        error = ann.recv()
        assert (error["code"], error["text"]) == ("store", "The history can't be read.")
        assert error["retry"] > 0
        assert "database is locked" in caplog.text
        store.locked = False
        ann.older()
        assert ann.recv() == {"type": "older", "messages": [], "more": False}


def test_an_empty_message_is_refused(running):
    with Talker(running.port) as ann:
        ann.send("say", text=" ", id="1")
        assert ann.recv() == {
            "type": "error",
            "code": "empty",
            "text": "There is nothing in it.",
            "retry": 0,
            "id": "1",
        }


@pytest.mark.parametrize("message", ["just text", '{"type": "no"}', "{" * 9000, '{"a":' * 5000])
def test_other_text_is_a_message_as_it_stands(running, message):
    with Talker(running.port) as ann:
        ann.client.send(message)
        event = ann.recv()
        if len(message) <= protocol.MAX_TEXT_CHARS:
            assert event["text"] == message
        else:
            assert event["code"] == "long"


@pytest.mark.parametrize("kind", ["say", "typing", "rename", "older", "get"])
def test_before_hello_requests_are_refused(running, kind):
    with Client(running.port, subprotocols=SUBPROTOCOL) as client:
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
        ann.send_file(b"x", **dict.fromkeys(("id", "name", "width", "height"), value))
        ann.get("welcome")
        ann.enter("Ann", "lobby", "Ann")
        assert ann.say("still here", "last")


def test_text_has_no_control_characters(running):
    with Talker(running.port) as ann:
        assert ann.say("a\x1b[2J\r\n\tb\x7f\x9b\ud83d", "1")["text"] == "a[2J\n\tb"


@pytest.mark.parametrize("character", ["x", "é", "🙂", '"'])
def test_the_longest_text(running, character):
    with Talker(running.port) as ann:
        longest = character * protocol.MAX_TEXT_CHARS
        assert ann.say(longest, "1")["text"] == longest
        ann.send("say", text=longest + "x", id="2")
        error = ann.recv()
        assert (error["code"], error["id"], error["retry"]) == ("long", "2", 0)


def test_of_long_messages_a_page_has_few(unhurried):
    with Talker(unhurried.port) as ann:
        rest = "🙂" * (protocol.MAX_TEXT_CHARS - 3)
        said = [f"{number:03}{rest}" for number in range(30)]
        seqs = [ann.say(text, text[:3])["seq"] for text in said]
        known = {"history": ann.welcome["history"]}
        with Talker(unhurried.port, "Bob", seen=seqs[-11], **known) as bob:
            assert bob.welcome["resumed"] is True
            assert texts(bob.welcome) == said[-10:]
        with Talker(unhurried.port, "Bob", seen=seqs[0], **known) as bob:
            assert (bob.welcome["resumed"], bob.welcome["more"]) == (False, True)
            page = bob.welcome
            heard = texts(page)
            while page["more"]:
                assert 1 <= len(page["messages"]) <= 4
                assert len(json.dumps(page, ensure_ascii=False).encode()) < room.PAGE_BYTES + 2000
                bob.send("older", before=page["messages"][0]["seq"])
                page = bob.get("older")
                heard[:0] = texts(page)
            assert heard == said


def test_a_flood_is_slowed_down_with_a_notice(running):
    with Talker(running.port, "Ann") as ann, Talker(running.port, "Bob") as bob:
        at_once = int(member.MAX_CREDITS) + 8
        for number in range(at_once):
            ann.send("say", text=str(number), id=str(number))
        answers = [ann.recv() for _ in range(at_once + 1)]
        slow = [answer for answer in answers if answer["type"] == "error"]
        stored = [answer["id"] for answer in answers if answer["type"] == "message"]
        assert 3 <= len(slow) <= 9
        for error in slow:
            assert error["code"] == "slow"
            assert error["id"] not in stored
        waits = [error["retry"] for error in slow]
        assert 0 < waits[0] <= member.FIRST_RETRY_SECONDS + 0.1
        assert waits == sorted(waits), "the next refusal comes later"
        bob.say("another one is not slowed down", "1")
        time.sleep(waits[0])
        ann.send("say", text="late", id=slow[0]["id"])
        assert ann.recv()["type"] == "message"

"""What the chat keeps in Redis is bounded, and so is what a request fetches out of it."""

from __future__ import annotations

import contextlib
import os

import pytest
import redis as redis_py

from chat.cluster import redis_store
from chat.cluster.redis_store import RedisStore
from chat.store import PIECE_BYTES, ROW_BYTES, Bounds, Piece
from tests.cluster.programs import Node, RedisProxy
from tests.support.chatclient import ChatClient
from tests.support.waiting import eventually

SMALL = Bounds(message_bytes=10 * (ROW_BYTES + 100), file_bytes=5000)
KIB = 1 << 10


@pytest.fixture
def inside(redis):
    """A connection to that Redis."""
    with contextlib.closing(redis_py.Redis.from_url(redis.url)) as inside:
        yield inside


@pytest.fixture
def store(redis):
    with contextlib.closing(RedisStore(redis.url, bounds=SMALL)) as store:
        yield store


def say(store, text, room="lobby"):
    message = {"from": "ann", "id": os.urandom(4).hex(), "text": text}
    return store.add(room, message)[0]["seq"]


def kept(store, room="lobby"):
    return [message["text"] for message in store.after(room, 0, 100, 1 << 20).messages]


def used(inside):
    """Return what Redis itself says that it holds, in KiB."""
    return inside.info("memory")["used_memory"] / KIB


def test_messages_are_bounded(store, inside):
    for letter in "abcdefghijklm":
        say(store, letter)
    assert kept(store) == list("abcdefghijklm")[-len(kept(store)) :]
    assert 10 <= len(kept(store)) < 13
    say(store, "y" * 3200)
    assert kept(store) == ["y" * 3200]
    say(store, "z")
    assert kept(store) == ["z"]
    assert int(inside.get("chat:message_bytes")) <= SMALL.message_bytes
    assert int(inside.get("chat:message_bytes")) == inside.zscore("chat:room_bytes", "lobby")


def test_a_flood_in_one_room_deletes_nothing_in_others(store, inside):
    for letter in "abc":
        say(store, letter, "quiet")
    for number in range(300):
        say(store, str(number), "flooded")
    assert kept(store, "quiet") == ["a", "b", "c"]
    assert kept(store, "flooded")[-1] == "299"
    for number in range(100):
        say(store, "x", f"room {number}")
    assert int(inside.get("chat:message_bytes")) <= SMALL.message_bytes
    assert len(inside.keys("chat:room:*")) == inside.zcard("chat:room_bytes") <= 20
    for room in inside.zrange("chat:room_bytes", 0, -1):
        inside.delete(b"chat:room:" + room)  # as a Redis may that is short of memory
    for letter in "abcdef":
        say(store, letter)
    assert kept(store)[-1] == "f"


def test_events_are_bounded(redis, inside, monkeypatch):
    monkeypatch.setattr(redis_store, "EVENT_BYTES", 100 * KIB)
    with contextlib.closing(RedisStore(redis.url)) as store:
        for _ in range(100):
            say(store, "x" * 4000)
        size = int(inside.get("chat:event_bytes"))
        assert 90 * KIB < size <= 100 * KIB
        assert inside.xlen("chat:events") == size // (4000 + ROW_BYTES)


def test_files_are_bounded(store, inside):
    files = [store.add_file(bytes([n]) * 2000) for n in range(3)]
    assert [store.piece(file, 0) is None for file in files] == [True, False, False]
    tiny = [store.add_file(bytes([n])) for n in range(10)]
    assert sum(store.piece(file, 0) is not None for file in tiny) == 4
    for _ in range(10):
        store.add_file(b"the same")
    assert int(inside.get("chat:file_bytes")) == 4 * KIB
    assert inside.zcard("chat:files") == inside.hlen("chat:file_sizes") == 4
    assert len(inside.keys("chat:file:*")) == 4


def test_a_file_that_is_sent_again_is_kept_for_longer(store):
    first, second = store.add_file(b"1" * 2000), store.add_file(b"2" * 2000)
    store.add_file(b"1" * 2000)
    store.add_file(b"3" * 2000)
    assert store.piece(first, 0) and not store.piece(second, 0)


def test_a_page_and_a_piece_are_all_that_leaves_redis(redis, inside):
    """A request for a piece fetched the whole file, and one for a page a hundred long messages."""
    content = os.urandom(5 << 20)
    with contextlib.closing(RedisStore(redis.url)) as store:
        file = store.add_file(bytearray(content))
        seqs = [say(store, "🙂" * 4000) for _ in range(60)]

        def output(action):
            """Return the KiB that an action fetches, and its result."""
            before = inside.info("stats")["total_net_output_bytes"]
            result = action()
            return (inside.info("stats")["total_net_output_bytes"] - before) / KIB, result

        said = 10  # what Redis says to `info`, about
        fetched, piece = output(lambda: store.piece(file, PIECE_BYTES))
        assert piece == Piece(content[PIECE_BYTES : 2 * PIECE_BYTES], len(content))
        assert fetched <= PIECE_BYTES / KIB + said
        for start in (len(content), 1 << 52):
            fetched, piece = output(lambda start=start: store.piece(file, start))
            assert piece == Piece(b"", len(content))
            assert fetched <= said
        assert store.piece(file, len(content) - 1) == Piece(content[-1:], len(content))
        fetched, page = output(lambda: store.before("lobby", seqs[-1], 50, 64 * KIB))
        assert [message["seq"] for message in page.messages] == seqs[-5:-1]
        assert page.more
        assert fetched <= 64 + 17 + said


def test_pages_have_the_last_messages_in_order(redis):
    with contextlib.closing(RedisStore(redis.url)) as store:
        seqs = [say(store, str(number)) for number in range(40)]

        def page(count, size=1 << 20):
            page = store.before("lobby", 1 << 40, count, size)
            return [message["seq"] for message in page.messages], page.more

        assert page(100) == page(40) == (seqs, False)
        assert page(39) == (seqs[1:], True)
        assert page(8) == (seqs[-8:], True)
        assert page(50, 0) == (seqs[-1:], True), "one at least"
        after = store.after("lobby", seqs[30], 100, 1 << 20)
        assert ([message["seq"] for message in after.messages], after.more) == (seqs[31:], False)


def test_a_client_that_left_while_redis_was_away_leaves_in_the_end(redis, inside):
    """Even if Redis fails once more just when it is told."""
    with contextlib.ExitStack() as stack:
        link = stack.enter_context(RedisProxy(redis.port))
        here, there = (stack.enter_context(Node("--redis", url)) for url in (link.url, redis.url))
        bob = ChatClient(there.port, "Bob")
        ann = ChatClient(here.port, "Ann")
        assert bob.hear("join")["person"]["name"] == "Ann"
        (key,) = (key for key in inside.keys("chat:at:*") if _is_of(inside, key, "Ann"))
        link.cut()
        eventually(lambda: "messages are refused" in here.output())
        ann.leave()
        inside.rename(key, "elsewhere")
        inside.set(key, "of the wrong type")
        link.restore()
        eventually(lambda: "WARNING Redis is back" in here.output())
        heartbeats = inside.info("commandstats")["cmdstat_smembers"]["calls"]
        eventually(
            lambda: inside.info("commandstats")["cmdstat_smembers"]["calls"] > heartbeats + 2
        )
        inside.rename("elsewhere", key)
        assert bob.hear("leave", 30)["person"]["name"] == "Ann"


def _is_of(inside, key, name):
    """Say whether a node has this person only."""
    people = inside.hgetall("chat:people:lobby")
    node = key.decode().rpartition(":")[2]
    return any(
        field.decode().startswith(node) and f'"name": "{name}"' in person.decode()
        for field, person in people.items()
    )


def test_what_is_kept_is_all_that_is_there(redis, inside):
    """After a flood, Redis itself holds about as much as is counted."""
    bounds = Bounds(message_bytes=1 << 20, file_bytes=1 << 20)
    with contextlib.closing(RedisStore(redis.url, bounds=bounds)) as store:
        before = used(inside)
        for number in range(300):
            store.add_file(bytes([number % 256]) * (100 * KIB + number))
            say(store, "🙂" * 4000, f"room {number % 50}")
        events = int(inside.get("chat:event_bytes")) / KIB
        assert used(inside) - before < 2 * (1024 + 1024 + events)

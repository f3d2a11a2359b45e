"""Files: sent and fetched in pieces, byte for byte; what is refused, and what they may take."""

from __future__ import annotations

import os

import pytest

from chat import credits, protocol, store, uploads
from tests.chat.talker import Talker
from tests.support.waiting import eventually
from ws import ConnectionClosed

PIECE = protocol.MAX_PIECE_BYTES


def test_a_file_arrives_byte_for_byte(running):
    content = os.urandom(store.PIECE_BYTES * 2 + 1)
    with Talker(running.port, "Ann") as ann, Talker(running.port, "Bob") as bob:
        ann.send_file(content, id="1", name="a b.bin", width=3, height=4)
        message = bob.recv()
        assert (message["id"], message["from"]) == ("1", ann.id)
        file = message["file"]
        assert bob.fetch_file(file["id"]) == content
        assert (file["name"], file["size"], file["width"]) == ("a b.bin", len(content), 3)
        bob.send("get", file="0" * 64)
        error = bob.recv()
        assert (error["code"], error["file"]) == ("gone", "0" * 64)


def test_pieces_may_be_fetched_from_any_byte_on(running):
    content = os.urandom(store.PIECE_BYTES + 10)
    with Talker(running.port, "Ann") as ann:
        ann.send_file(content, id="1", name="x")
        file = ann.get("message")["file"]["id"]
        for start in (1, store.PIECE_BYTES - 1, store.PIECE_BYTES, store.PIECE_BYTES + 9):
            ann.send("get", file=file, start=start)
            header, piece = ann.recv()
            assert (header["start"], header["size"]) == (start, len(content))
            assert piece and content[start:].startswith(piece)
        for start in (len(content), 1 << 40, (1 << 53) - 1):
            ann.send("get", file=file, start=start)
            assert ann.recv()["code"] == "piece"


def test_the_largest_file(running):
    with Talker(running.port, "Ann") as ann:
        ann.send_file(b"x" * protocol.MAX_FILE_BYTES, id="1", name="large")
        assert ann.get("message")["file"]["size"] == protocol.MAX_FILE_BYTES
        for size in (0, protocol.MAX_FILE_BYTES + 1):
            ann.send_piece(b"x", id="2", name="none", size=size)
            error = ann.get("error")
            assert (error["code"], error["id"]) == ("size", "2")


def test_a_message_over_64_kib_is_refused_by_its_length(running):
    with Talker(running.port) as ann:
        ann.client.send(bytes(protocol.MAX_MESSAGE_BYTES + 1))
        with pytest.raises(ConnectionClosed, match="1009"):
            ann.recv()


def test_a_binary_message_without_a_header_is_refused(running):
    with Talker(running.port) as ann:
        ann.client.send(b"\0\1")
        assert ann.recv()["code"] == "file"
        assert ann.silent()


def test_pieces_come_in_order_and_of_one_file_at_a_time(running):
    with Talker(running.port) as ann:
        ann.send_piece(b"b", id="1", start=1, size=2)
        assert ann.recv()["code"] == "piece", "nothing has begun"
        for name, start, content in (("1", 2, b"c"), ("other", 1, b"b"), ("1", 1, b"bcd")):
            ann.send_piece(b"a", id="1", start=0, size=3)
            assert ann.recv() == {"type": "more", "id": "1", "start": 1}
            ann.send_piece(content, id=name, start=start, size=9)
            assert ann.recv()["code"] == "piece", "it isn't the piece that comes next"
            ann.send_piece(b"b", id="1", start=1, size=3)
            error = ann.recv()
            assert error["code"] == "piece" and error["retry"] > 0, "it has to begin again"
        ann.send_piece(b"x", id="1", start=0, size=2)
        assert ann.recv()["start"] == 1, "it begins again"
        ann.send_piece(b"y", id="1", start=1, size=2)
        assert ann.fetch_file(ann.get("message")["file"]["id"]) == b"xy"


def test_a_file_does_not_follow_into_another_room(running):
    with Talker(running.port) as ann:
        ann.send_piece(b"a", id="1", start=0, size=2)
        assert ann.recv()["type"] == "more"
        ann.enter("Ann", "kitchen", "Ann")
        ann.send_piece(b"b", id="1", start=1, size=2)
        assert ann.recv()["code"] == "piece"


@pytest.fixture
def narrow(monkeypatch):
    """Room for a few bytes of files on their way."""
    monkeypatch.setattr(uploads, "MAX_BYTES", 25)
    monkeypatch.setattr(uploads, "MAX_BYTES_OF_ADDRESS", 20)


def test_files_of_an_address_are_bounded_by_the_hour(serve, monkeypatch):
    monkeypatch.setattr(credits, "FILE_BYTES", 25)
    port = serve().port
    for name in "123":
        with Talker(port, name) as talker:
            talker.send_piece(name.encode() * 10, id="1")
            event = talker.recv()
            assert event["type"] == ("message" if name < "3" else "error")
    assert (event["code"], event["retry"]) == ("slow", 0), "too long a time to wait for"


def test_fetching_is_bounded_by_the_hour(serve, monkeypatch):
    monkeypatch.setattr(credits, "FETCHED_BYTES", 25)
    port = serve().port
    with Talker(port) as ann:
        ann.send_piece(b"x" * 10, id="1")
        file = ann.get("message")["file"]["id"]
        for _ in range(3):
            assert ann.fetch_file(file) == b"x" * 10
    with Talker(port) as again:
        again.send("get", file=file)
        error = again.recv()
        assert (error["code"], error["file"]) == ("slow", file)
        assert error["retry"] > 60


def begin(client, size=10):
    client.send_piece(b"a", id="1", start=0, size=size)
    return client.recv()


def test_files_on_their_way_are_bounded(running, narrow):
    """What clients of one address have begun is bounded, until it is complete or they leave."""
    with Talker(running.port, "Ann", "1") as ann, Talker(running.port, "Bob", "2") as bob:
        with Talker(running.port, "Cy", "3") as cy:
            assert [begin(client)["type"] for client in (ann, bob)] == ["more", "more"]
            assert begin(ann)["type"] == "more", "in place of the other one"
            error = begin(cy)
            assert (error["code"], error["id"]) == ("busy", "1")
            assert error["retry"] > 0
            ann.send_piece(b"b" * 9, id="1", start=1, size=10)
            assert ann.recv()["type"] == "message"
            assert begin(cy)["type"] == "more"
        eventually(lambda: begin(ann)["type"] == "more", what="room of one who has left")


@pytest.mark.parametrize("bound", ["STALLED_SECONDS", "SLOW_SECONDS"])
def test_files_that_do_not_come_on_make_room_for_others(running, narrow, monkeypatch, bound):
    with Talker(running.port, "Ann", "1") as ann, Talker(running.port, "Bob", "2") as bob:
        assert begin(ann, 20)["type"] == "more"
        assert begin(bob)["code"] == "busy"
        monkeypatch.setattr(uploads, bound, 0)
        assert begin(bob)["type"] == "more"
        ann.send_piece(b"b", id="1", start=1, size=20)
        error = ann.recv()
        assert (error["code"], error["id"]) == ("piece", "1")
        assert error["retry"] > 0, "it may begin again"

"""Files: sent and fetched byte for byte, and what is refused."""

from __future__ import annotations

import os

from chat import protocol, room
from tests.chat.talker import Talker


def test_a_file_arrives_byte_for_byte(running):
    content = os.urandom(room.PIECE_BYTES * 2 + 1)
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


def test_the_largest_file(running):
    with Talker(running.port, "Ann") as ann:
        ann.send_file(b"x" * protocol.MAX_FILE_BYTES, id="1", name="large")
        assert ann.get("message")["file"]["size"] == protocol.MAX_FILE_BYTES
        for size, code in ((0, "size"), (protocol.MAX_FILE_BYTES + 1, "size")):
            with Talker(running.port, "Bob") as bob:
                bob.send_file(b"x" * size, id="2", name="none")
                error = bob.get("error")
                assert (error["code"], error["id"]) == (code, "2")
        with Talker(running.port, "Cy", "kitchen") as cy:
            cy.client.send(bytes(protocol.MAX_FILE_BYTES + protocol.MAX_REQUEST_CHARS + 1))
            assert cy.recv()[0] == 1009


def test_a_binary_message_without_a_header_is_refused(running):
    with Talker(running.port) as ann:
        ann.client.send(b"\0\1")
        assert ann.recv()["code"] == "file"
        assert ann.silent()

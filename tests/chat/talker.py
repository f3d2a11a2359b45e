"""A client of the chat that speaks the page's protocol; it blocks, with a deadline."""

from __future__ import annotations

import json
import time

from chat.protocol import MAX_PIECE_BYTES, SUBPROTOCOL
from tests.support.client import Client


class Talker:
    """Somebody in a room; `welcome` is what the server sent on entering."""

    def __init__(self, port, name="Ann", room="lobby", key="", source="", **hello):
        self.client = Client(port, subprotocols=SUBPROTOCOL, source=source)
        self.enter(name, room, key or name, **hello)

    def enter(self, name, room, key, **hello):
        """Say hello, again if the server asks for a moment's patience."""
        self.send("hello", name=name, room=room, key=key, **hello)
        self.welcome = self.get("welcome", "error")
        if self.welcome["type"] == "error":
            assert self.welcome["code"] == "slow", self.welcome
            time.sleep(self.welcome["retry"])
            self.enter(name, room, key, **hello)
        self.id = self.welcome["you"]

    def send(self, kind, **fields):
        self.client.send(json.dumps({"type": kind, **fields}))

    def send_piece(self, content, **header):
        """Send a piece of a file, or a small one as a whole."""
        self.client.send(json.dumps({"type": "file", **header}).encode() + b"\n" + content)

    def send_file(self, content, **header):
        """Send a file, piece by piece."""
        start, size = 0, len(content)
        while True:
            piece = content[start : start + MAX_PIECE_BYTES]
            self.send_piece(piece, start=start, size=size, **header)
            start += len(piece)
            if start == size:
                return
            assert self.get("more")["start"] == start

    def recv(self):
        """Return the next event; for a piece of a file, the header and the content."""
        message = self.client.recv()
        if isinstance(message, str):
            return json.loads(message)
        header, _, content = message.partition(b"\n")
        return json.loads(header.decode()), content

    def get(self, *kinds):
        """Return the next event of one of these kinds, and drop those before."""
        while True:
            event = self.recv()
            if not isinstance(event, dict):
                raise AssertionError(event)
            if event["type"] in kinds:
                return event

    def older(self):
        """Ask for the messages before the first one."""
        self.send("older", before=1)

    def say(self, text, id):
        """Say something, and return the message when it is back."""
        self.send("say", text=text, id=id)
        while True:
            message = self.get("message")
            if (message["from"], message["id"]) == (self.id, id):
                return message

    def say_all(self, said):
        """Say many things, and wait until all are back."""
        for number, text in enumerate(said):
            self.send("say", text=text, id=f"all {number}")
        for text in said:
            assert self.get("message")["text"] == text

    def fetch_file(self, name):
        """Return a file's content, piece by piece."""
        content = b""
        while True:
            self.send("get", file=name, start=len(content))
            header, piece = self.recv()
            assert (header["type"], header["file"]) == ("file", name)
            assert header["start"] == len(content)
            content += piece
            if len(content) == header["size"]:
                return content

    def silent(self):
        """Check that no event has come: the next one is the answer to a ping."""
        self.send("ping")
        event = self.recv()
        assert event == {"type": "pong"}, event
        return True

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.client.close()


def texts(event):
    """Return what the messages in a welcome or a page of older ones say."""
    return [message["text"] for message in event["messages"]]

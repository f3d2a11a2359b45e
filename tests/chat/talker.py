"""A client of the chat that speaks the page's protocol; it blocks, with a deadline."""

from __future__ import annotations

import json

from chat.protocol import SUBPROTOCOL
from tests.support.rawclient import connect


class Talker:
    """Somebody in a room; `welcome` is what the server sent on entering."""

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
        """Return the next event; for a piece of a file, the header and the content."""
        message = self.client.recv()
        if isinstance(message, tuple):
            return message
        if isinstance(message, str):
            return json.loads(message)
        header, _, content = message.partition(b"\n")
        return json.loads(header.decode()), content

    def get(self, kind):
        """Return the next event of a kind, and drop those before."""
        while True:
            event = self.recv()
            if not isinstance(event, dict):
                raise AssertionError(event)
            if event["type"] == kind:
                return event

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

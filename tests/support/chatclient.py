"""A client of the chat that says and hears what the page does; it blocks, with a deadline."""

from __future__ import annotations

import json
from typing import Any

from tests.support.client import Client
from tests.support.waiting import DEADLINE

SUBPROTOCOL = "chat.v1"


def hello(name: str, room: str, key: str, history: str = "", seen: int = 0) -> dict[str, Any]:
    """Return the event with which a client enters.

    Args:
        name: What others call it.
        room: Where it enters.
        key: By which the chat knows it again.
        history: The history it has seen a part of, if any.
        seen: The number of the last message it has seen.
    """
    event: dict[str, Any] = {"type": "hello", "name": name, "room": room, "key": key}
    return {**event, "history": history, "seen": seen} if history else event


class ChatClient:
    """A person: enters a room, talks and listens, and may come back elsewhere.

    Args:
        port: Of the chat.
        name: What others call it.
        room: Where it enters.
        key: By which the chat knows it again; made of the name by default.

    Attributes:
        welcome: The event that answered its hello.
        id: Of the person, as the chat gave it.
        history: The id of the history that it follows.
        seen: The number of the last message that it has seen.
    """

    def __init__(self, port: int, name: str = "Ann", room: str = "lobby", key: str = "") -> None:
        self.name, self.room, self.key = name, room, key or f"key of {name}"
        self.history, self.seen = "", 0
        self.enter(port)

    def enter(self, port: int) -> None:
        """Connect, and enter the room, or come back to it."""
        self.client = Client(port, subprotocols=SUBPROTOCOL)
        self.client.send(json.dumps(hello(self.name, self.room, self.key, self.history, self.seen)))
        self.welcome = self.hear("welcome")
        self.id = self.welcome["you"]
        self.history = self.welcome["history"]
        self.seen = self.seen if self.welcome["resumed"] else 0
        for message in self.welcome["messages"]:
            self.seen = message["seq"]

    def send(self, kind: str, **fields: Any) -> None:
        """Send an event."""
        self.client.send(json.dumps({"type": kind, **fields}))

    def send_file(self, content: bytes, **fields: Any) -> None:
        """Send a file."""
        self.client.send(json.dumps({"type": "file", **fields}).encode() + b"\n" + content)

    def recv(self, seconds: float = DEADLINE) -> Any:
        """Return the next event; for a file its header and its content.

        Args:
            seconds: How long to wait.

        Raises:
            ConnectionClosed: The server has closed.
        """
        message = self.client.recv(seconds)
        if isinstance(message, bytes):
            head, _, content = message.partition(b"\n")
            return json.loads(head.decode()), content
        event = json.loads(message)
        if event["type"] == "message":
            assert event["seq"] > self.seen, f"message {event['seq']} after {self.seen}"
            self.seen = event["seq"]
        return event

    def hear(self, kind: str, seconds: float = DEADLINE) -> dict[str, Any]:
        """Return the next event of a kind, and drop those before.

        Args:
            kind: Its type.
            seconds: How long to wait for each event.
        """
        while True:
            event = self.recv(seconds)
            if isinstance(event, dict) and event["type"] == kind:
                return event

    def say(self, text: str) -> dict[str, Any]:
        """Say something, and return it once the chat has acknowledged it."""
        self.send("say", text=text, id=text)
        message = self.hear("message")
        assert message["text"] == text
        return message

    def people(self) -> set[str]:
        """Return the names of those who were there when it entered."""
        return {person["name"] for person in self.welcome["people"]}

    def leave(self) -> None:
        """Close the connection."""
        self.client.close()

    def __enter__(self) -> ChatClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.leave()


def texts(messages: list[dict[str, Any]]) -> list[str]:
    """Return what messages say."""
    return [message["text"] for message in messages]

"""What requests do: rooms, the people in them, messages and files."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from typing import Any, Callable, Iterable

from chat.protocol import (
    BYTES_PER_CREDIT,
    MAX_FILE_BYTES,
    MAX_NAME_CHARS,
    MAX_TEXT_CHARS,
    REQUESTS,
    Event,
    Fields,
    GetFile,
    Hello,
    Older,
    Ping,
    Refused,
    Rename,
    Request,
    Say,
    SendFile,
    Typing,
    decode,
    encode,
    encode_line,
    encode_piece,
    error_event,
    file_type,
)
from chat.store import Message, Store, StoreError, StoreUnavailable
from ws import Client, WSServer

MAX_ROOMS = 1000
"""Rooms with somebody in them."""
MAX_PEOPLE = 500
"""Clients in one room."""
PAGE_MESSAGES = 50
"""Messages in the welcome of a newcomer, and in the answer to "older"."""
MAX_MISSED_MESSAGES = 100
"""A client that missed more than these is welcomed like a newcomer."""
PLAIN_HISTORY_LINES = 20
"""Lines of history that a plain client gets."""
PIECE_BYTES = 128 << 10
"""The size of a piece of a file. It is small, because other messages wait until it is sent."""

MAX_CREDITS = 20.0
"""A client has this many to begin with; each request costs its `COST`."""
CREDITS_PER_SECOND = 4.0

STORE_RETRY_SECONDS = 5.0
FULL_RETRY_SECONDS = 30.0


class Member:
    """A client, who it is, and what it may still ask for."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.person = self.name = ""
        self.room = ""  # '' until it has entered one
        self.plain = client.subprotocol is None
        # The numbers of the last message and of the last event that its welcome includes.
        self.last_message = self.last_event = 0
        self._credits, self._counted_at = MAX_CREDITS, time.monotonic()

    @property
    def channel(self) -> str:
        """The server's room in which this client gets events: as JSON, or as lines."""
        return lines_channel(self.room) if self.plain else json_channel(self.room)

    def public(self) -> dict[str, str]:
        """Return what others may know."""
        return {"id": self.person, "name": self.name}

    def spend(self, cost: float) -> None:
        """Take credits for a request (a token bucket). Raises Refused if there are too few."""
        now = time.monotonic()
        earned = (now - self._counted_at) * CREDITS_PER_SECOND
        self._credits, self._counted_at = min(self._credits + earned, MAX_CREDITS), now
        if cost > self._credits:
            wait_seconds = (cost - self._credits) / CREDITS_PER_SECOND
            raise Refused("slow", "You are writing too fast: wait a moment.", wait_seconds)
        self._credits -= cost


def json_channel(room: str) -> str:
    return f"json:{room}"


def lines_channel(room: str) -> str:
    return f"lines:{room}"


class Chat:
    """All rooms of a server.

    `chat.cluster.shared.SharedChat` overrides `arrive`, `depart`, `publish` and `set_name`, which
    are about what others see.

    Args:
        server: not started yet; the chat registers its callbacks.
        store: the history.
        title: the chat's name.
    """

    def __init__(self, server: WSServer, store: Store, title: str = "Chat") -> None:
        self.server, self.store, self.title = server, store, title
        # Held while a message enters the store and everyone's queue, so that all clients get the
        # same order. Nothing under it waits for a client: `sendall` never does.
        self.lock = threading.Lock()
        self.members: dict[str, dict[Client, Member]] = {}  # by room
        self._guests = 0
        self._handlers: dict[type[Request], Callable[[Member, Any], None]] = {
            Hello: self._hello,
            Say: self._say,
            SendFile: self._send_file,
            Typing: self._typing,
            Rename: self._rename,
            Older: self._older,
            GetFile: self._get_file,
            Ping: self._ping,
        }
        server.onopen(self._open)
        server.onmessage(self._receive)
        server.onclose(self._close)

    # The server's callbacks

    def _open(self, client: Client) -> None:
        client.data["member"] = member = Member(client)
        if not member.plain:
            return
        try:
            self._enter(member, Hello.read(client.request.query))
        except Refused as refusal:
            self.server.close(client, 1013, refusal.text)
        except StoreUnavailable:
            self.server.close(client, 1013, "try again later")

    def _close(self, client: Client) -> None:
        with self.lock:
            self._leave(client.data["member"])

    def _receive(self, client: Client, message: str | bytes) -> None:
        member: Member = client.data["member"]
        fields: Fields = {}
        try:
            fields, content = decode(message)
            kind = REQUESTS[fields["type"]]
            member.spend(kind.COST + len(content) / BYTES_PER_CREDIT)
            if not member.room and kind not in (Hello, Ping):
                raise Refused("hello", "Say hello first.")
            self._handlers[kind](member, kind.read(fields, content))
        except Refused as refusal:
            self._send(member, error_event(refusal, fields))
        except StoreError as error:
            if not isinstance(error, StoreUnavailable):
                logging.exception("the history can't be used")
            text = "The message could not be stored."
            self._send(member, error_event(Refused("store", text, STORE_RETRY_SECONDS), fields))

    # Coming and going

    def _hello(self, member: Member, hello: Hello) -> None:
        if member.plain:
            with self.lock:
                self.server.leave(member.client, member.channel)
                member.plain = False
                self.server.join(member.client, member.channel)
        self._enter(member, hello)

    def _enter(self, member: Member, hello: Hello) -> None:
        with self.lock:
            members = self.members.get(hello.room, {})
            if not members and len(self.members) >= MAX_ROOMS:
                text = "There are too many rooms; try again later."
                raise Refused("full", text, FULL_RETRY_SECONDS)
            if len(members) >= MAX_PEOPLE:
                raise Refused("full", "This room is full; try another one.", FULL_RETRY_SECONDS)
            self._leave(member)
            self._guests += 1
            member.person = hashlib.sha256(hello.key.encode()).hexdigest()[:16]
            member.name = hello.name or f"Guest {self._guests}"
            member.room = hello.room
            try:
                self.arrive(member, hello)
            except StoreError:
                member.room = ""
                raise
            self.members.setdefault(member.room, {})[member.client] = member
            self.server.join(member.client, member.channel)

    def arrive(self, member: Member, hello: Hello) -> None:
        """Welcome a member who enters, and tell the others; with the lock held."""
        others = self.members.get(member.room, {}).values()
        self.welcome(member, hello, [other.public() for other in others])
        # A person who is back before the old connection has ended may have another name by now.
        kind = "rename" if self._is_here(member) else "join"
        self._tell(member.room, {"type": kind, "person": member.public()})

    def welcome(self, member: Member, hello: Hello, others: Iterable[dict[str, str]]) -> None:
        """Send the room's people and messages to a member who enters."""
        room, store = member.room, self.store
        if member.plain:
            for message in store.after(room, 0, PLAIN_HISTORY_LINES):
                self._send(member, message)
                member.last_message = message["seq"]
            return
        messages: list[Message] = []
        resumed = False
        if hello.seen is not None and hello.history == store.history:
            messages = store.after(room, hello.seen, MAX_MISSED_MESSAGES + 1)
            resumed = len(messages) <= MAX_MISSED_MESSAGES
        if not resumed:
            messages = store.after(room, 0, PAGE_MESSAGES + 1)
        member.last_message = messages[-1]["seq"] if messages else 0
        people = {person["id"]: person for person in [*others, member.public()]}
        event = {
            "type": "welcome",
            "id": hello.id,
            "chat": self.title,
            "room": room,
            "you": member.person,
            "name": member.name,
            "people": list(people.values()),
            "history": store.history,
            "messages": messages if resumed else messages[-PAGE_MESSAGES:],
            "resumed": resumed,
            "more": not resumed and len(messages) > PAGE_MESSAGES,
            "limits": {"text": MAX_TEXT_CHARS, "name": MAX_NAME_CHARS, "file": MAX_FILE_BYTES},
        }
        self._send(member, event)

    def _leave(self, member: Member) -> None:
        members = self.members.get(member.room, {})
        if members.pop(member.client, None) is None:
            return
        if not members:
            del self.members[member.room]
        self.server.leave(member.client, member.channel)
        self.depart(member)

    def depart(self, member: Member) -> None:
        """Tell the others that a member has left; with the lock held."""
        if not self._is_here(member):
            self._tell(member.room, {"type": "leave", "person": member.public()})

    def _is_here(self, member: Member) -> bool:
        """Whether the same person is in the room with another client, as after a reconnect."""
        members = self.members.get(member.room, {}).values()
        return any(other.person == member.person for other in members)

    def _rename(self, member: Member, rename: Rename) -> None:
        self.set_name(member.room, {"id": member.person, "name": rename.name})

    def set_name(self, room: str, person: dict[str, str]) -> None:
        """Change the name of a person, and tell everyone in the room."""
        with self.lock:
            self.note_name(room, person)
            self._tell(room, {"type": "rename", "person": person})

    def note_name(self, room: str, person: dict[str, str]) -> None:
        """Change the name of a person's clients here; with the lock held."""
        for member in self.members.get(room, {}).values():
            if member.person == person["id"]:
                member.name = person["name"]

    def _typing(self, member: Member, typing: Typing) -> None:
        event = encode({"type": "typing", "person": member.public()})
        self.server.sendall(event, to=json_channel(member.room), exclude=member.client)

    # Messages and files

    def _say(self, member: Member, say: Say) -> None:
        self._submit(member, say.id, {"text": say.text})

    def _send_file(self, member: Member, file: SendFile) -> None:
        description = {
            "id": self.store.add_file(file.content),
            "name": file.name,
            "size": len(file.content),
            "type": file_type(file.content),
            "width": file.width,  # for the page to leave room for the image
            "height": file.height,
        }
        self._submit(member, file.id, {"file": description})

    def _submit(self, member: Member, message_id: str, content: dict[str, Any]) -> None:
        message = {
            "type": "message",
            "id": message_id,
            "from": member.person,
            "name": member.name,
            "time": int(time.time() * 1000),
            **content,
        }
        message, new = self.publish(member.room, message)
        if not new:
            self._send(member, message)

    def publish(self, room: str, message: Message) -> tuple[Message, bool]:
        """Store a message and, if it is new, send it to everyone in the room.

        Returns:
            The stored message, and whether it is new.
        """
        with self.lock:
            message, new = self.store.add(room, message)
            if new:
                self._tell(room, message)
        return message, new

    def _older(self, member: Member, older: Older) -> None:
        messages = self.store.before(member.room, older.before, PAGE_MESSAGES + 1)
        more = len(messages) > PAGE_MESSAGES
        self._send(member, {"type": "older", "messages": messages[-PAGE_MESSAGES:], "more": more})

    def _get_file(self, member: Member, get: GetFile) -> None:
        content = self.store.file(get.file)
        if content is None:
            raise Refused("gone", "This file is no longer kept.")
        piece = content[get.start : get.start + PIECE_BYTES]
        message = encode_piece(get.file, get.start, piece, len(content))
        self.server.sendall(message, to=member.client, compress=False)

    def _ping(self, member: Member, ping: Ping) -> None:
        self._send(member, {"type": "pong"})

    # Sending

    def _tell(self, room: str, event: Event) -> None:
        """Send an event to everyone in a room; with the lock held."""
        self.server.sendall(encode(event), to=json_channel(room))
        line = encode_line(event)
        if line:
            self.server.sendall(line, to=lines_channel(room))

    def _send(self, member: Member, event: Event) -> None:
        message = encode_line(event) if member.plain else encode(event)
        if message:
            self.server.sendall(message, to=member.client)

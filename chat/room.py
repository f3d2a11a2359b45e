"""What happens to a message: rooms, presence, history, files, flood control.

Text messages are JSON objects. From a client, by their "type":

    hello    id, room, name, key, history, seen    enter a room, from another one too
    say      id, text                              to everyone in the room
    typing                                         so that others see it
    rename   name
    older    before                                the messages before that "seq"
    get      file, start                           a piece of a file's content
    ping                                           answered by a pong

Any other text is a message to the room, as it stands. To a client:

    welcome  id, chat, room, you, name, people, history, messages, resumed, more, limits
    message  seq, id, from, name, time, and text or file
    join, leave, rename                            person: id, name
    typing                                         person: id, name
    older    messages, more
    pong
    error    code, text, id or file, retry         what was refused, and the seconds to wait

A file is a binary message: a line of JSON, then the content. From a client the line has "type":
"file", "id", "name", and perhaps "width" and "height"; to a client, which asks for one piece
after the other, "type": "file", "file", "start" and "size", that of the whole file.

The *key* is the client's secret, and what others see as its "id" is made of it. With *history*
and *seen* (the last "seq" that it got) a client gets exactly what it missed: "resumed" says so.
A message comes back to its author too; that acknowledges it. What was sent twice, with the same
"id", is stored once and acknowledged again. "time" is in milliseconds since 1970.

A client that doesn't ask for the subprotocol `SUBPROTOCOL` is plain: until it says hello, it
gets lines of text ("Ann: hello"), and enters by its URL (``/?room=kitchen&name=Ann``).
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import secrets
import threading
import time
import unicodedata
from typing import Any, Mapping

from chat.store import Away, Store, StoreError
from ws import Client, WSServer

SUBPROTOCOL = "chat.v1"

MAX_TEXT = 4000
"""Characters in a message, at most; that is at most 16,000 bytes."""
MAX_NAME = 40
"""Characters in the name of a person or of a room."""
MAX_ID = 64
"""Characters in the id of a message, and in a key."""
MAX_FILE = 5 << 20
"""Bytes in a file."""
MAX_FILE_NAME = 100
MAX_REQUEST = 64 << 10
"""Characters in a text message, whose JSON may be all escapes, and bytes in a file's header."""
MAX_ROOMS = 1000
"""Rooms with someone in them."""
MAX_PEOPLE = 500
"""Clients in one room."""
MAX_PIXELS = 20_000
"""Width or height of an image."""
GREETING = 50
"""Messages that a newcomer gets, and that "older" gets."""
RESUMPTION = 100
"""Missed messages that a client gets; if it missed more, it is greeted like a newcomer."""
PLAIN_GREETING = 20
"""Lines of history that a plain client gets."""
PIECE = 128 << 10
"""Bytes of a file that a client gets at a time, so that what is said needn't wait for long."""

CREDIT = 20.0
"""What a client can do at once, in the units of COSTS, before it is slowed down."""
CREDIT_PER_SECOND = 4.0
COSTS = {"hello": 1, "say": 1, "file": 1, "rename": 1, "typing": 0.25, "older": 0.25}
COSTS.update(get=0.05, ping=0.1)
BYTES_PER_CREDIT = 512 << 10
"""What a file costs beside that."""

IMAGES = (
    ("image/png", 0, b"\x89PNG\r\n\x1a\n"),
    ("image/jpeg", 0, b"\xff\xd8\xff"),
    ("image/gif", 0, b"GIF8"),
    ("image/webp", 8, b"WEBP"),
    ("image/avif", 4, b"ftypavif"),
)
"""Files that pages show, by what they begin with; all others are only offered for download."""


class Member:
    """A client, and who it is; changed by its own callbacks alone."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.person = self.name = self.room = ""  # no room: it hasn't said hello
        self.plain = client.subprotocol is None
        self._credit, self._counted = CREDIT, time.monotonic()
        self.entered = self.seen = 0  # the events and messages up to these are in its welcome

    def spend(self, cost: float) -> float:
        """Return 0, or the seconds after which there is credit enough."""
        now = time.monotonic()
        self._credit += (now - self._counted) * CREDIT_PER_SECOND
        self._credit, self._counted = min(self._credit, CREDIT), now
        if cost > self._credit:
            return (cost - self._credit) / CREDIT_PER_SECOND
        self._credit -= cost
        return 0

    def public(self) -> dict[str, str]:
        """Return what others may know."""
        return {"id": self.person, "name": self.name}


class Refused(Exception):
    """What a client asked for is refused: (code, text, seconds to wait)."""


class Chat:
    """All rooms of a server."""

    def __init__(self, server: WSServer, store: Store, title: str) -> None:
        self._server, self._store, self._title = server, store, title
        # Held while a message enters the store and everyone's queue, so that all have the same
        # order. Nothing under it waits for a client: `sendall` never does.
        self._lock = threading.Lock()
        self._rooms: dict[str, dict[Client, Member]] = {}
        self._guests = 0
        server.onopen(self.open)
        server.onmessage(self.receive)
        server.onclose(self.close)

    def open(self, client: Client) -> None:
        client.data["member"] = member = Member(client)
        if member.plain:
            try:
                self._enter(member, client.request.query)
            except Refused as refusal:
                self._server.close(client, 1013, refusal.args[1])
            except Away:
                self._server.close(client, 1013, "try again later")

    def close(self, client: Client) -> None:
        with self._lock:
            self._leave(client.data["member"])

    def receive(self, client: Client, message: str | bytes) -> None:
        member = client.data["member"]
        request: dict[str, Any] = {}
        try:
            request, content = parse(message)
            kind = request["type"]
            wait = member.spend(COSTS[kind] + len(content) / BYTES_PER_CREDIT)
            if wait:
                raise Refused("slow", "You are writing too fast: wait a moment.", wait)
            if not member.room and kind not in ("hello", "ping"):
                raise Refused("hello", "Say hello first.")
            if kind == "hello":
                self._hello(member, request)
            elif kind == "say":
                self._say(member, request)
            elif kind == "file":
                self._file(member, request, content)
            elif kind == "typing":
                typing = dumps({"type": "typing", "person": member.public()})
                self._server.sendall(typing, to=member.room, exclude=member.client)
            elif kind == "rename":
                self._rename(member, clean_name(request.get("name")))
            elif kind == "older":
                self._older(member, request)
            elif kind == "get":
                self._get(member, request)
            elif kind == "ping":
                self._send(member, {"type": "pong"})
        except Refused as refusal:
            self._refuse(member, request, *refusal.args)
        except StoreError as error:
            if not isinstance(error, Away):
                logging.exception("the history is out of order")
            self._refuse(member, request, "store", "The message could not be stored.", 5)

    # Coming and going

    def _hello(self, member: Member, request: dict[str, Any]) -> None:
        same = request.get("history") == self._store.history
        seen = whole(request.get("seen")) if same else None
        member.plain = False
        self._enter(member, request, seen)

    def _enter(self, member: Member, hello: Mapping[str, Any], seen: int | None = None) -> None:
        key = clean(hello.get("key"))[:MAX_ID] or secrets.token_hex()
        room = clean_name(hello.get("room")) or "lobby"
        with self._lock:
            members = self._rooms.get(room, {})
            if not members and len(self._rooms) >= MAX_ROOMS:
                raise Refused("full", "There are too many rooms; try again later.", 30)
            if len(members) >= MAX_PEOPLE:
                raise Refused("full", "This room is full; try another one.", 30)
            self._leave(member)
            self._guests += 1
            member.person = hashlib.sha256(key.encode()).hexdigest()[:16]
            member.name = clean_name(hello.get("name")) or f"Guest {self._guests}"
            member.room = room
            try:
                self._arrive(member, seen, hello)
            except StoreError:
                member.room = ""
                raise
            self._rooms.setdefault(room, {})[member.client] = member
            if not member.plain:
                self._server.join(member.client, room)

    def _arrive(self, member: Member, seen: int | None, hello: Mapping[str, Any]) -> None:
        members = self._rooms.get(member.room, {}).values()
        self._greet(member, seen, hello, [other.public() for other in members])
        # Who is back before the old connection has ended may have another name by now.
        kind = "rename" if self._is_here(member) else "join"
        self._tell(member.room, {"type": kind, "person": member.public()})

    def _greet(
        self,
        member: Member,
        seen: int | None,
        hello: Mapping[str, Any],
        others: list[dict[str, str]],
    ) -> None:
        room, store = member.room, self._store
        if member.plain:
            for message in store.after(room, 0, PLAIN_GREETING):
                self._send(member, message)
                member.seen = message["seq"]
            return
        messages: list[dict[str, Any]] = []
        resumed = False
        if seen is not None:
            messages = store.after(room, seen, RESUMPTION + 1)
            resumed = len(messages) <= RESUMPTION
        if not resumed:
            messages = store.after(room, 0, GREETING + 1)
        member.seen = messages[-1]["seq"] if messages else 0
        people = {person["id"]: person for person in [*others, member.public()]}
        welcome = {
            "type": "welcome",
            "id": clean(hello.get("id"))[:MAX_ID],
            "chat": self._title,
            "room": room,
            "you": member.person,
            "name": member.name,
            "people": list(people.values()),
            "history": store.history,
            "messages": messages if resumed else messages[-GREETING:],
            "resumed": resumed,
            "more": not resumed and len(messages) > GREETING,
            "limits": {"text": MAX_TEXT, "name": MAX_NAME, "file": MAX_FILE},
        }
        self._send(member, welcome)

    def _leave(self, member: Member) -> None:
        members = self._rooms.get(member.room, {})
        if members.pop(member.client, None) is None:
            return
        if not members:
            del self._rooms[member.room]
        self._server.leave(member.client, member.room)
        self._depart(member)

    def _depart(self, member: Member) -> None:
        if not self._is_here(member):
            self._tell(member.room, {"type": "leave", "person": member.public()})

    def _is_here(self, member: Member) -> bool:
        """Say whether the same person is in the room with another client, say after a cut."""
        members = self._rooms.get(member.room, {}).values()
        return any(other.person == member.person for other in members)

    def _rename(self, member: Member, name: str) -> None:
        if not name:
            raise Refused("name", "A name needs a letter.")
        self._set_name(member.room, {"id": member.person, "name": name})

    def _set_name(self, room: str, person: dict[str, str]) -> None:
        with self._lock:
            self._call(room, person)
            self._tell(room, {"type": "rename", "person": person})

    def _call(self, room: str, person: Mapping[str, str]) -> None:
        """Give a person's clients here a name."""
        for member in self._rooms.get(room, {}).values():
            if member.person == person["id"]:
                member.name = person["name"]

    # Messages and files

    def _say(self, member: Member, request: dict[str, Any]) -> None:
        text = clean(request.get("text"))
        if len(text) > MAX_TEXT:
            raise Refused("long", f"A message has at most {MAX_TEXT:,} characters.")
        if not text.strip():
            raise Refused("empty", "There is nothing in it.")
        self._publish(member, request, {"text": text})

    def _file(self, member: Member, request: dict[str, Any], content: bytes) -> None:
        if not 0 < len(content) <= MAX_FILE:
            raise Refused("size", f"A file has at most {MAX_FILE >> 20} MB, and isn't empty.")
        file = {
            "id": self._store.add_file(content),
            "name": file_name(request.get("name")),
            "size": len(content),
            "type": file_type(content),
        }
        for side in ("width", "height"):  # that the page can leave room for the image
            file[side] = min(whole(request.get(side)) or 0, MAX_PIXELS)
        self._publish(member, request, {"file": file})

    def _publish(self, member: Member, request: dict[str, Any], content: dict[str, Any]) -> None:
        message = {
            "type": "message",
            "id": clean(request.get("id"))[:MAX_ID] or secrets.token_hex(8),
            "from": member.person,
            "name": member.name,
            "time": int(time.time() * 1000),
            **content,
        }
        message, new = self._add(member.room, message)
        if not new:
            self._send(member, message)

    def _add(self, room: str, message: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        with self._lock:
            message, new = self._store.add(room, message)
            if new:
                self._tell(room, message)
        return message, new

    def _older(self, member: Member, request: dict[str, Any]) -> None:
        before = whole(request.get("before"))
        if before is None:
            raise Refused("older", "Before which message?")
        messages = self._store.before(member.room, before, GREETING + 1)
        more = len(messages) > GREETING
        self._send(member, {"type": "older", "messages": messages[-GREETING:], "more": more})

    def _get(self, member: Member, request: dict[str, Any]) -> None:
        name, start = clean(request.get("file")), whole(request.get("start")) or 0
        content = self._store.file(name)
        if content is None:
            raise Refused("gone", "This file is no longer kept.")
        head = json.dumps({"type": "file", "file": name, "start": start, "size": len(content)})
        message = head.encode() + b"\n" + content[start : start + PIECE]
        self._server.sendall(message, to=member.client, compress=False)

    # Sending

    def _tell(self, room: str, event: dict[str, Any]) -> None:
        """Send an event to those in a room; with the lock held."""
        self._send_to(list(self._rooms.get(room, {}).values()), event)

    def _send_to(self, members: list[Member], event: dict[str, Any]) -> None:
        self._server.sendall(dumps(event), to=[m.client for m in members if not m.plain])
        plain = [m.client for m in members if m.plain]
        line = as_line(event) if plain else ""
        if line:
            self._server.sendall(line, to=plain)

    def _send(self, member: Member, event: dict[str, Any]) -> None:
        message = as_line(event) if member.plain else dumps(event)
        if message:
            self._server.sendall(message, to=member.client)

    def _refuse(
        self, member: Member, request: dict[str, Any], code: str, text: str, wait: float = 0
    ) -> None:
        error = {"type": "error", "code": code, "text": text, "retry": math.ceil(wait * 10) / 10}
        error.update((name, request[name]) for name in ("id", "file") if clean(request.get(name)))
        self._send(member, error)


def dumps(event: dict[str, Any]) -> str:
    """Return an event as JSON; without escapes, which would make other scripts thrice as long."""
    return json.dumps(event, ensure_ascii=False)


def parse(message: str | bytes) -> tuple[dict[str, Any], bytes]:
    """Return what a client asks for, and a file's content."""
    if isinstance(message, bytes):
        head, _, content = message.partition(b"\n")
        request = as_request(head)
        if request is None or request["type"] != "file":
            raise Refused("file", "A binary message is a line of JSON and a file.")
        return request, content
    if len(message) > MAX_REQUEST:
        raise Refused("long", f"A message has at most {MAX_TEXT:,} characters.")
    request = as_request(message) if message.startswith("{") else None
    if request is None or request["type"] == "file":
        request = {"type": "say", "text": message}
    return request, b""


def as_request(message: str | bytes) -> dict[str, Any] | None:
    """Return a JSON object of one of our types, or None."""
    if len(message) > MAX_REQUEST:
        return None
    try:
        request = json.loads(message)
    except (ValueError, RecursionError):
        return None
    known = isinstance(request, dict) and str(request.get("type")) in COSTS
    return request if known else None


def as_line(event: dict[str, Any]) -> str:
    """Return an event as a plain client gets it; '' if it doesn't."""
    kind = event["type"]
    if kind == "message":
        text = event["text"] if "text" in event else "[{name}]".format(**event["file"])
        return f"{event['name']}: " + text.replace("\n", "\n  ")
    if kind in ("join", "leave"):
        what = {"join": "joined", "leave": "left"}[kind]
        return f"* {event['person']['name']} {what}"
    if kind == "error":
        return f"* Not sent: {event['text']}"
    return ""


def clean(text: Any) -> str:
    """Return text without control characters and lone surrogates; '' for what isn't text."""
    if not isinstance(text, str):
        return ""
    text = text.replace("\r\n", "\n")
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))


def clean_name(name: Any) -> str:
    """Return a name in one line, without invisible characters such as those that turn text."""
    joiners = "\u200c\u200d"  # scripts and emoji need them
    visible = (c for c in clean(name) if c in joiners or unicodedata.category(c) != "Cf")
    return " ".join("".join(visible).split())[:MAX_NAME].strip(" " + joiners)


def whole(number: Any) -> int | None:
    """Return a whole number that JavaScript and SQLite can represent, or None."""
    return number if isinstance(number, int) and 0 <= number < 1 << 53 else None


def file_name(name: Any) -> str:
    """Return a name that is safe to save under, in any folder of any system."""
    name = clean(name).replace("\\", "/").rpartition("/")[2]
    name = "".join("_" if c in '<>:"|?*' else c for c in name if unicodedata.category(c) != "Cf")
    stem, dot, extension = " ".join(name.split()).strip(". ").rpartition(".")
    name = stem[: MAX_FILE_NAME - 20] + dot + extension[:19] if dot else extension
    return name[:MAX_FILE_NAME] or "file"


def file_type(content: bytes) -> str:
    """Return the type of an image that is safe to show, or that of a download."""
    for kind, start, magic in IMAGES:
        if content.startswith(magic, start):
            return kind
    return "application/octet-stream"

"""The chat's protocol: the requests, their fields, checks and costs, and how events are encoded.

Text messages are JSON objects. A client sends requests, which its "type" tells apart:

    hello    id, room, name, key, history, seen    enter a room, or move to another one
    say      id, text                              send a text to everyone in the room
    typing                                         show the others that somebody is typing
    rename   name                                  change the person's name
    older    before                                get the messages before that "seq"
    get      file, start                           get a piece of a file, from that byte on
    ping                                           get a pong

Any other text is sent to the room as it stands. The server sends events:

    welcome  id, chat, room, you, name, people, history, messages, resumed, more, limits
    message  seq, id, from, name, time, and text or file
    join, leave, rename, typing                    person: id, name
    older    messages, more
    pong
    error    code, text, id or file, retry         why a request was refused; when to try again

A file is a binary message: a line of JSON, then the content. To send one, a client gives the line
"type": "file", "id", "name" and, for an image, "width" and "height". To receive one, it asks for
one piece after the other; the server gives the line "type": "file", "file", "start", and "size",
which is that of the whole file.

The "key" is the client's secret; the person's public id is a hash of it. A client that was
connected before sends the "history" and the last "seq" ("seen") that it got. If "resumed" is
true, the welcome has exactly the messages that it missed. A message comes back to its author too,
as its acknowledgement. A message that is sent twice with the same "id" is stored once, and
acknowledged again. "time" is in milliseconds since 1970, "retry" in seconds; 0 means never.

A client that doesn't ask for the subprotocol `SUBPROTOCOL` is a plain client. It enters a room by
its URL (``/?room=kitchen&name=Ann``) and gets lines of text ("Ann: hello"), until it says hello.
"""

from __future__ import annotations

import json
import math
import secrets
import unicodedata
from dataclasses import dataclass
from typing import Any, Dict, Mapping

SUBPROTOCOL = "chat.v1"

MAX_TEXT_CHARS = 4000
"""A message's text; that is at most 16,000 bytes of UTF-8."""
MAX_NAME_CHARS = 40
"""The name of a person or of a room."""
MAX_ID_CHARS = 64
"""The id of a message, and a key."""
MAX_FILE_BYTES = 5 << 20
MAX_FILE_NAME_CHARS = 100
MAX_EXTENSION_CHARS = 19
MAX_REQUEST_CHARS = 64 << 10
"""The longest text message: JSON may escape each character. Also the longest header of a file, in
bytes."""
MAX_IMAGE_PIXELS = 20_000
"""The width or height of an image."""

BYTES_PER_CREDIT = 512 << 10
"""A file costs one credit for this many bytes of content, in addition to the request's cost."""

IMAGE_TYPES = (
    ("image/png", 0, b"\x89PNG\r\n\x1a\n"),
    ("image/jpeg", 0, b"\xff\xd8\xff"),
    ("image/gif", 0, b"GIF8"),
    ("image/webp", 8, b"WEBP"),
    ("image/avif", 4, b"ftypavif"),
)
"""The files that pages show: type, offset and bytes found there. Others can be downloaded."""

Fields = Mapping[str, Any]
"""A request as it came; nothing in it has been checked."""
Event = Dict[str, Any]


class Refused(Exception):
    """A request is refused.

    Args:
        code: A word by which pages tell the reasons apart.
        text: A sentence for people.
        retry_seconds: Seconds after which to try again. 0 means never.
    """

    def __init__(self, code: str, text: str, retry_seconds: float = 0) -> None:
        super().__init__(code, text, retry_seconds)
        self.code, self.text, self.retry_seconds = code, text, retry_seconds


# Requests


class Request:
    """A client's request. `COST` is its price in credits, which a client earns by waiting."""

    COST = 0.0

    @classmethod
    def read(cls, fields: Fields, content: bytes) -> Request:
        """Check the fields, and a file's content. Raises Refused."""
        return cls()


@dataclass(frozen=True)
class Hello(Request):
    """Enter a room."""

    COST = 1.0
    id: str
    room: str
    name: str
    key: str
    history: Any
    seen: int | None

    @classmethod
    def read(cls, fields: Fields, content: bytes = b"") -> Hello:
        return cls(
            id=clean_id(fields.get("id")),
            room=clean_name(fields.get("room")) or "lobby",
            name=clean_name(fields.get("name")),
            key=clean_id(fields.get("key")) or secrets.token_hex(),
            history=fields.get("history"),
            seen=safe_integer(fields.get("seen")),
        )


@dataclass(frozen=True)
class Say(Request):
    """Send a text to everyone in the room."""

    COST = 1.0
    id: str
    text: str

    @classmethod
    def read(cls, fields: Fields, content: bytes) -> Say:
        text = clean(fields.get("text"))
        if len(text) > MAX_TEXT_CHARS:
            raise Refused("long", f"A message has at most {MAX_TEXT_CHARS:,} characters.")
        if not text.strip():
            raise Refused("empty", "There is nothing in it.")
        return cls(message_id(fields), text)


@dataclass(frozen=True)
class SendFile(Request):
    """Send a file to everyone in the room; width and height are 0 if they aren't known."""

    COST = 1.0
    id: str
    name: str
    width: int
    height: int
    content: bytes

    @classmethod
    def read(cls, fields: Fields, content: bytes) -> SendFile:
        if not 0 < len(content) <= MAX_FILE_BYTES:
            most = MAX_FILE_BYTES >> 20
            raise Refused("size", f"A file has at most {most} MB, and isn't empty.")
        width, height = (
            min(safe_integer(fields.get(side)) or 0, MAX_IMAGE_PIXELS)
            for side in ("width", "height")
        )
        return cls(message_id(fields), file_name(fields.get("name")), width, height, content)


class Typing(Request):
    """Show the others that somebody is typing."""

    COST = 0.25


@dataclass(frozen=True)
class Rename(Request):
    """Change the person's name."""

    COST = 1.0
    name: str

    @classmethod
    def read(cls, fields: Fields, content: bytes) -> Rename:
        name = clean_name(fields.get("name"))
        if not name:
            raise Refused("name", "A name needs a letter.")
        return cls(name)


@dataclass(frozen=True)
class Older(Request):
    """Get the messages before one."""

    COST = 0.25
    before: int

    @classmethod
    def read(cls, fields: Fields, content: bytes) -> Older:
        before = safe_integer(fields.get("before"))
        if before is None:
            raise Refused("older", "Before which message?")
        return cls(before)


@dataclass(frozen=True)
class GetFile(Request):
    """Get a piece of a file."""

    COST = 0.05
    file: str
    start: int

    @classmethod
    def read(cls, fields: Fields, content: bytes) -> GetFile:
        return cls(clean(fields.get("file")), safe_integer(fields.get("start")) or 0)


class Ping(Request):
    """Get a pong."""

    COST = 0.1


REQUESTS: dict[str, type[Request]] = {
    "hello": Hello,
    "say": Say,
    "file": SendFile,
    "typing": Typing,
    "rename": Rename,
    "older": Older,
    "get": GetFile,
    "ping": Ping,
}
"""By "type"; "file" comes as a binary message, all others as text."""


def decode(message: str | bytes) -> tuple[dict[str, Any], bytes]:
    """Return a request's fields, with a "type" that is in REQUESTS, and a file's content."""
    if isinstance(message, bytes):
        header, _, content = message.partition(b"\n")
        fields = _decode_json(header)
        if fields is None or fields["type"] != "file":
            raise Refused("file", "A binary message is a line of JSON and a file.")
        return fields, content
    if len(message) > MAX_REQUEST_CHARS:
        raise Refused("long", f"A message has at most {MAX_TEXT_CHARS:,} characters.")
    fields = _decode_json(message) if message.startswith("{") else None
    if fields is None or fields["type"] == "file":
        fields = {"type": "say", "text": message}
    return fields, b""


def _decode_json(text: str | bytes) -> dict[str, Any] | None:
    """Return a JSON object that is one of our requests, or None."""
    if len(text) > MAX_REQUEST_CHARS:
        return None
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    known = isinstance(fields, dict) and str(fields.get("type")) in REQUESTS
    return fields if known else None


# Events


def encode(event: Event) -> str:
    """Return an event as JSON; unescaped, since escapes make text in other scripts longer."""
    return json.dumps(event, ensure_ascii=False)


def encode_piece(file: str, start: int, piece: bytes, size: int) -> bytes:
    """Return a piece of a file as a binary message; size is that of the whole file, in bytes."""
    header = {"type": "file", "file": file, "start": start, "size": size}
    return json.dumps(header).encode() + b"\n" + piece


def encode_line(event: Event) -> str:
    """Return an event as a line for plain clients; '' for an event that they don't get."""
    kind = event["type"]
    if kind == "message":
        text = event["text"] if "text" in event else "[{name}]".format(**event["file"])
        return f"{event['name']}: " + text.replace("\n", "\n  ")
    if kind == "join":
        return f"* {event['person']['name']} joined"
    if kind == "leave":
        return f"* {event['person']['name']} left"
    if kind == "error":
        return f"* Not sent: {event['text']}"
    return ""


def error_event(refusal: Refused, fields: Fields) -> Event:
    """Return the answer to a refused request, which the client recognizes by "id" or "file"."""
    retry_seconds = math.ceil(refusal.retry_seconds * 10) / 10
    event = {"type": "error", "code": refusal.code, "text": refusal.text, "retry": retry_seconds}
    event.update((name, fields[name]) for name in ("id", "file") if clean(fields.get(name)))
    return event


# Checks


def clean(text: Any) -> str:
    """Return text without control characters and lone surrogates; '' for anything but text."""
    if not isinstance(text, str):
        return ""
    text = text.replace("\r\n", "\n")
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))


def clean_id(text: Any) -> str:
    """Return an id or a key, cut to its maximum length."""
    return clean(text)[:MAX_ID_CHARS]


def message_id(fields: Fields) -> str:
    """Return the id that the client has chosen for a message, or else one of ours."""
    return clean_id(fields.get("id")) or secrets.token_hex(8)


def clean_name(name: Any) -> str:
    """Return a name in one line, without invisible characters such as those that turn text."""
    joiners = "\u200c\u200d"  # scripts and emoji need them
    visible = (c for c in clean(name) if c in joiners or unicodedata.category(c) != "Cf")
    return " ".join("".join(visible).split())[:MAX_NAME_CHARS].strip(" " + joiners)


def safe_integer(number: Any) -> int | None:
    """Return an integer that JavaScript and SQLite can represent, from 0 up, or None."""
    return number if isinstance(number, int) and 0 <= number < 1 << 53 else None


def file_name(name: Any) -> str:
    """Return a name that is safe to save under, in any folder of any system."""
    name = clean(name).replace("\\", "/").rpartition("/")[2]
    name = "".join("_" if c in '<>:"|?*' else c for c in name if unicodedata.category(c) != "Cf")
    stem, dot, extension = " ".join(name.split()).strip(". ").rpartition(".")
    if dot:
        stem = stem[: MAX_FILE_NAME_CHARS - MAX_EXTENSION_CHARS - 1]
        extension = extension[:MAX_EXTENSION_CHARS]
    return (stem + dot + extension)[:MAX_FILE_NAME_CHARS] or "file"


def file_type(content: bytes) -> str:
    """Return the type of an image that is safe to show, or that of a download."""
    for kind, offset, magic in IMAGE_TYPES:
        if content.startswith(magic, offset):
            return kind
    return "application/octet-stream"

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
    more     id, start                             the piece of a file that the server waits for
    pong
    error    code, text, id or file, retry         why a request was refused; when to try again

A file goes in pieces, each a binary message: a line of JSON, then a part of the content. To send
one, a client gives the line "type": "file", "id", "start", "size", "name" and, for an image,
"width" and "height". "size" is that of the whole file; the first piece tells it, the name and the
sides. A piece has at most "piece" bytes, of the limits in the welcome. The server answers the last
piece with the message, and each other one with "more". A client may send several pieces ahead, once
the first has been answered. To receive a file, it asks for one piece after the other; the server
gives the line "type": "file", "file", "start", and "size". No message to the server may have over
64 KiB.

The "key" is the client's secret; the person's public id is a hash of it. A client that was
connected before sends the "history" and the last "seq" ("seen") that it got. If "resumed" is
true, the welcome has exactly the messages that it missed. A message comes back to its author too,
as its acknowledgement. A message that is sent twice with the same "id" is stored once, and
acknowledged again. "time" is in milliseconds since 1970, "retry" in seconds; 0 means never. A
client that doesn't wait as it is told, or keeps on sending what is refused, is closed with 1008.

A client that doesn't ask for the subprotocol `SUBPROTOCOL` is a plain client. It enters a room by
its URL (``/?room=kitchen&name=Ann``) and gets lines of text ("Ann: hello"), until it says hello.
"""

from __future__ import annotations

import json
import math
import secrets
from dataclasses import dataclass
from typing import Any, Dict, Mapping

from chat.fields import (
    MAX_NAME_CHARS,
    clean,
    clean_id,
    clean_name,
    file_name,
    safe_integer,
    string,
)

SUBPROTOCOL = "chat.v1"

MAX_TEXT_CHARS = 4000
"""A message's text; that is at most 16,000 bytes of UTF-8."""
MAX_FILE_BYTES = 5 << 20
MAX_MESSAGE_BYTES = 64 << 10  # defence: chat-message-size
"""The longest message from a client. 4,000 characters fit in, even if each is escaped."""
MAX_HEADER_BYTES = 4 << 10
"""The line of JSON before a piece of a file."""
MAX_PIECE_BYTES = 56 << 10
"""The longest piece that pages are told to send."""
MAX_IMAGE_PIXELS = 20_000
"""The width or height of an image."""
LIMITS = {
    "text": MAX_TEXT_CHARS,
    "name": MAX_NAME_CHARS,
    "file": MAX_FILE_BYTES,
    "piece": MAX_PIECE_BYTES,
}
"""What a welcome tells."""

BYTES_PER_CREDIT = 512 << 10
"""A file costs one credit for this many bytes, in addition to the request's cost."""

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
    """A client's request.

    Attributes:
        COST: Its price in credits of the client, which measure how much a person asks for.
        WORK: Its price in credits of the client's address, for what it takes the server: see
            `chat.credits`. Reading the message, deliveries and answers have prices of their own.
    """

    COST = 0.0
    WORK = 0.0

    def cost(self) -> float:
        """Return its price in credits of the client."""
        return self.COST

    @classmethod
    def read(cls, fields: Fields, content: bytes) -> Request:
        """Check the fields, and a file's content. Raises Refused."""
        return cls()


@dataclass(frozen=True)
class Hello(Request):
    """Enter a room."""

    COST = 1.0
    WORK = 4.0
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
    WORK = 0.5
    id: str
    text: str

    @classmethod
    def read(cls, fields: Fields, content: bytes) -> Say:
        text = string(fields.get("text"))
        # Each may be a line's end, CR LF; defence: chat-text-length
        if len(text) <= 2 * MAX_TEXT_CHARS:
            text = clean(text)
        if len(text) > MAX_TEXT_CHARS:
            raise Refused("long", f"A message has at most {MAX_TEXT_CHARS:,} characters.")
        if not text.strip():
            raise Refused("empty", "There is nothing in it.")
        return cls(message_id(fields), text)


@dataclass(frozen=True)
class SendFile(Request):
    """Send a piece of a file to the server, and the complete file to everyone in the room.

    Attributes:
        id: The message's.
        name: The file's; this and all but `start` and `content` count in the first piece.
        width: The width of an image; 0 if it isn't known.
        height: Its height.
        size: Bytes of the whole file.
        start: Bytes before this piece.
        content: The piece.
    """

    COST = 1.0
    WORK = 0.5
    id: str
    name: str
    width: int
    height: int
    size: int
    start: int
    content: bytes

    @classmethod
    def read(cls, fields: Fields, content: bytes) -> SendFile:
        start = safe_integer(fields.get("start")) or 0
        size = safe_integer(fields.get("size", len(content))) or 0
        if not 0 < size <= MAX_FILE_BYTES:
            most = MAX_FILE_BYTES >> 20
            raise Refused("size", f"A file has at most {most} MB, and isn't empty.")
        if not content or start + len(content) > size:
            raise Refused("piece", "This is no piece of the file.")
        width, height = (
            min(safe_integer(fields.get(side)) or 0, MAX_IMAGE_PIXELS)
            for side in ("width", "height")
        )
        name = file_name(fields.get("name"))
        return cls(message_id(fields), name, width, height, size, start, content)

    def cost(self) -> float:
        return 0.0 if self.start else self.COST + self.size / BYTES_PER_CREDIT


class Typing(Request):
    """Show the others that somebody is typing."""

    COST = 0.25
    WORK = 0.1


@dataclass(frozen=True)
class Rename(Request):
    """Change the person's name."""

    COST = 1.0
    WORK = 0.5
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
    WORK = 4.0
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
    WORK = 1.0
    file: str
    start: int

    @classmethod
    def read(cls, fields: Fields, content: bytes) -> GetFile:
        return cls(clean_id(fields.get("file")), safe_integer(fields.get("start")) or 0)


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
    """Return a request's fields, with a "type" that is in REQUESTS, and a piece of a file."""
    if isinstance(message, bytes):
        end = message.find(b"\n", 0, MAX_HEADER_BYTES + 1)
        fields = _decode_json(message[:end]) if end > 0 else None
        if fields is None or fields["type"] != "file":
            raise Refused("file", "A binary message is a line of JSON and a piece of a file.")
        return fields, message[end + 1 :]
    fields = _decode_json(message) if message.startswith("{") else None
    if fields is None or fields["type"] == "file":
        fields = {"type": "say", "text": message}
    return fields, b""


def _decode_json(text: str | bytes) -> dict[str, Any] | None:
    """Return a JSON object that is one of our requests, or None."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    kind = fields.get("type") if isinstance(fields, dict) else None
    return fields if isinstance(kind, str) and kind in REQUESTS else None


def message_id(fields: Fields) -> str:
    """Return the id that the client has chosen for a message, or else one of ours."""
    return clean_id(fields.get("id")) or secrets.token_hex(8)


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
    named = {name: clean_id(fields.get(name)) for name in ("id", "file")}
    event.update((name, value) for name, value in named.items() if value)
    return event

"""What requests do: rooms, the people in them, messages and files."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from typing import Any, Callable, Iterable

from chat.credits import (
    ANSWER_BYTES_PER_CREDIT,
    DELIVERED_BYTES_PER_CREDIT,
    DELIVERIES_PER_CREDIT,
    price,
)
from chat.fields import file_type
from chat.member import TOO_FAST, Member, json_channel, lines_channel
from chat.protocol import (
    LIMITS,
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
)
from chat.store import ROW_BYTES, Message, Store, StoreError, StoreUnavailable
from chat.uploads import Uploads
from ws import Client, WSServer

MAX_ROOMS = 1000
"""Rooms with somebody in them."""
MAX_PEOPLE = 500
"""Clients in one room."""
MAX_PEOPLE_OF_ADDRESS = MAX_PEOPLE // 4
"""Clients of one address in one room."""
MAX_TYPING_PEOPLE = 100
"""In a larger room, nobody is told that somebody is typing."""
PAGE_MESSAGES = 50
"""Messages in the welcome of a newcomer, and in the answer to "older", unless these are long."""
PAGE_BYTES = 64 << 10  # defence: chat-page
"""About the longest such messages, together."""
MAX_MISSED_MESSAGES = 100
MAX_MISSED_BYTES = 256 << 10
"""A client that missed more than this is welcomed like a newcomer."""
PLAIN_HISTORY_LINES = 20
"""Lines of history that a plain client gets."""

LONGEST_NAMED_CHARS = 16 << 10
"""A longer request of an address in debt isn't even parsed, so the refusal doesn't name it. Pages
need such a length only for a text of many control characters."""

STORE_RETRY_SECONDS = 5.0
FULL_RETRY_SECONDS = 30.0
GIVE_UP_SECONDS = 60.0
"""A file that would have to wait for longer isn't to be sent again."""
POLICY_VIOLATION = 1008

TOO_MUCH = "Too much came from your address lately."


class Chat:
    """All rooms of a server.

    `chat.cluster.shared.SharedChat` overrides `arrive`, `depart`, `publish` and `set_name`, which
    are about what others see.

    Args:
        server: A server that isn't started yet. The chat registers its callbacks.
        store: The history.
        title: The chat's name.
    """

    def __init__(self, server: WSServer, store: Store, title: str = "Chat") -> None:
        self.server, self.store, self.title = server, store, title
        # Held while a message enters the store and every client's queue, so that all clients get
        # messages in the same order. `sendall` doesn't block, so no client can keep it held.
        self.lock = threading.Lock()
        self.members: dict[str, dict[Client, Member]] = {}  # by room
        self._uploads = Uploads()
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
            self._work(member, Hello.WORK)
            self._enter(member, Hello.read(client.request.query))
        except Refused as refusal:
            self.server.close(client, 1013, refusal.text)
        except StoreUnavailable:
            self.server.close(client, 1013, "try again later")

    def _close(self, client: Client) -> None:
        self._uploads.forget(client)
        with self.lock:
            self._leave(client.data["member"])

    def _receive(self, client: Client, message: str | bytes) -> None:
        member: Member = client.data["member"]
        fields: Fields = {}
        try:
            debt_seconds = member.account.work(price(message))
            slow = Refused("slow", TOO_FAST, debt_seconds)
            if debt_seconds and isinstance(message, str) and len(message) > LONGEST_NAMED_CHARS:
                raise slow
            fields, content = decode(message)  # also if it is refused, to name it in the answer
            kind = REQUESTS[fields["type"]]
            begun = kind is SendFile and fields.get("start")  # its first piece was let in
            if debt_seconds and not begun:  # defence: chat-debt
                raise slow
            if not member.room and kind not in (Hello, Ping):
                raise Refused("hello", "Say hello first.")
            request = kind.read(fields, content)
            member.spend(request.cost())
            member.account.work(kind.WORK)
            self._handlers[kind](member, request)
        except Refused as refusal:
            self._refuse(member, refusal, fields)
        except StoreError as error:
            if not isinstance(error, StoreUnavailable):
                logging.exception("the history can't be used")
            writing = fields["type"] in ("say", "file")
            text = "The message could not be stored." if writing else "The history can't be read."
            self._refuse(member, Refused("store", text, STORE_RETRY_SECONDS), fields)

    def _refuse(self, member: Member, refusal: Refused, fields: Fields) -> None:
        if member.blame(refusal):
            self.server.close(member.client, POLICY_VIOLATION, "too many refused requests")
        else:
            self._send(member, error_event(refusal, fields))

    def _work(self, member: Member, credits: float) -> None:
        """Take credits of the address. Raises Refused if it is in debt."""
        debt_seconds = member.account.work(credits)
        if debt_seconds:
            raise Refused("slow", TOO_FAST, debt_seconds)

    def _owe_deliveries(self, member: Member, size: int = 0) -> None:
        """Take credits of the address for sending something to everyone in the member's room."""
        people = len(self.members.get(member.room, ()))
        each = 1 / DELIVERIES_PER_CREDIT + size / DELIVERED_BYTES_PER_CREDIT
        member.account.work(people * each)  # defence: chat-deliveries

    # Coming and going

    def _hello(self, member: Member, hello: Hello) -> None:
        self._enter(member, hello, plain=False)

    def _enter(self, member: Member, hello: Hello, plain: bool | None = None) -> None:
        """Put a member into a room; *plain* says whether it is a plain client from now on.

        Raises:
            Refused: It stays where it is.
            StoreError: It is in no room.
        """
        self._uploads.forget(member.client)
        with self.lock:
            members = self.members.get(hello.room, {})
            others = [other for other in members.values() if other is not member]
            if not members and len(self.members) >= MAX_ROOMS:
                text = "There are too many rooms; try again later."
                raise Refused("full", text, FULL_RETRY_SECONDS)
            of_address = sum(other.account is member.account for other in others)
            if (
                len(others) >= MAX_PEOPLE
                or of_address >= MAX_PEOPLE_OF_ADDRESS  # defence: chat-room-of-address
            ):
                raise Refused("full", "This room is full; try another one.", FULL_RETRY_SECONDS)
            self._leave(member)
            self._guests += 1
            member.person = hashlib.sha256(hello.key.encode()).hexdigest()[:16]
            member.name = hello.name or f"Guest {self._guests}"
            member.room = hello.room
            was_plain = member.plain
            member.plain = was_plain if plain is None else plain
            try:
                self.arrive(member, hello)
            except StoreError:
                member.room, member.plain = "", was_plain
                raise
            self.members.setdefault(member.room, {})[member.client] = member
            self.server.join(member.client, member.channel)
            self._owe_deliveries(member)

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
            for message in store.after(room, 0, PLAIN_HISTORY_LINES, PAGE_BYTES).messages:
                self._answer(member, message)
                member.last_message = message["seq"]
            return
        resumed = False
        if hello.seen is not None and hello.history == store.history:
            page = store.after(room, hello.seen, MAX_MISSED_MESSAGES, MAX_MISSED_BYTES)
            resumed = not page.more
        if not resumed:
            page = store.after(room, 0, PAGE_MESSAGES, PAGE_BYTES)
        messages = page.messages
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
            "messages": messages,
            "resumed": resumed,
            "more": page.more,
            "limits": LIMITS,
        }
        self._answer(member, event)

    def _leave(self, member: Member) -> None:
        members = self.members.get(member.room, {})
        if members.pop(member.client, None) is None:
            return
        self._owe_deliveries(member)
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
        self._owe_deliveries(member)
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
        if len(self.members[member.room]) > MAX_TYPING_PEOPLE:
            return
        self._owe_deliveries(member)
        event = encode({"type": "typing", "person": member.public()})
        self.server.sendall(event, to=json_channel(member.room), exclude=member.client)

    # Messages and files

    def _say(self, member: Member, say: Say) -> None:
        self._submit(member, say.id, {"text": say.text}, len(say.text.encode()))

    def _send_file(self, member: Member, piece: SendFile) -> None:
        client, account = member.client, member.account
        if not piece.start:
            seconds = account.wait_for_file(piece.size)
            if seconds:  # defence: chat-stored-files
                raise Refused("slow", TOO_MUCH, seconds if seconds < GIVE_UP_SECONDS else 0)
            self._uploads.begin(client, piece, account)
        upload = self._uploads.add(client, piece)
        if isinstance(upload, int):
            self._send(member, {"type": "more", "id": piece.id, "start": upload})
            return
        first, content = upload.first, upload.content
        account.store_file(len(content))
        description = {
            "id": self.store.add_file(content),
            "name": first.name,
            "size": len(content),
            "type": file_type(content),
            "width": first.width,  # for the page to leave room for the image
            "height": first.height,
        }
        self._submit(member, first.id, {"file": description}, 0)

    def _submit(self, member: Member, message_id: str, content: Event, size: int) -> None:
        """Send a message to everyone in the room; its text has so many bytes."""
        seconds = member.account.store_text(size + ROW_BYTES)
        if seconds:  # defence: chat-stored-text
            raise Refused("slow", TOO_MUCH, seconds)
        self._owe_deliveries(member, size)
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
        page = self.store.before(member.room, older.before, PAGE_MESSAGES, PAGE_BYTES)
        self._answer(member, {"type": "older", "messages": page.messages, "more": page.more})

    def _get_file(self, member: Member, get: GetFile) -> None:
        debt_seconds = member.account.fetch(0)
        if debt_seconds:  # defence: chat-fetched
            raise Refused("slow", TOO_MUCH, debt_seconds)
        piece = self.store.piece(get.file, get.start)
        if piece is None:
            raise Refused("gone", "This file is no longer kept.")
        if not piece.content:
            raise Refused("piece", "The file ends before that.")
        member.account.fetch(len(piece.content))
        message = encode_piece(get.file, get.start, piece.content, piece.size)
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

    def _answer(self, member: Member, event: Event) -> None:
        """Send an event that may be long, at the address's expense."""
        member.account.work(self._send(member, event) / ANSWER_BYTES_PER_CREDIT)

    def _send(self, member: Member, event: Event) -> int:
        """Send an event; return its length."""
        message = encode_line(event) if member.plain else encode(event)
        if message:
            self.server.sendall(message, to=member.client)
        return len(message)

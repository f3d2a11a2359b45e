"""The rooms of a node whose history, people and events are shared with other nodes."""

from __future__ import annotations

import itertools
import logging

from chat.cluster.redis_store import RedisStore
from chat.member import Member
from chat.protocol import Event, Hello, encode, encode_line
from chat.room import Chat
from chat.store import Message, StoreError
from ws import WSServer


class SharedChat(Chat):
    """All rooms, with the clients of this node; events come from the store's stream.

    A message may be both in a client's welcome and in the stream. The client gets it once.
    """

    def __init__(self, server: WSServer, store: RedisStore, title: str = "Chat") -> None:
        super().__init__(server, store, title)
        self._shared = store
        self._keys = itertools.count(1)
        store.follow(self._on_event, self._on_gap)

    def arrive(self, member: Member, hello: Hello) -> None:
        key = member.client.data["key"] = str(next(self._keys))
        try:
            entered, others = self._shared.enter(member.room, key, member.public())
            self.welcome(member, hello, others)
        except StoreError:
            self._shared.leave(key)
            raise
        member.last_event = entered

    def depart(self, member: Member) -> None:
        self._shared.leave(member.client.data["key"])

    def set_name(self, room: str, person: dict[str, str]) -> None:
        self._shared.rename(room, person)

    def publish(self, room: str, message: Message) -> tuple[Message, bool]:
        return self._shared.add(room, message)

    def _on_event(self, seq: int, room: str, event: Event) -> None:
        """Send an event to the members here, unless their welcome includes it."""
        is_message = event["type"] == "message"
        if is_message:
            event = {"seq": seq, **event}
        with self.lock:
            if event["type"] == "rename":
                self.note_name(room, event["person"])
            members = [
                member
                for member in self.members.get(room, {}).values()
                if seq > member.last_event and not (is_message and seq <= member.last_message)
            ]
            # Not `to=` the room: the backplane would send that to the other nodes as well.
            as_json = [member.client for member in members if not member.plain]
            self.server.sendall(encode(event), to=as_json)
            line = encode_line(event)
            if line:
                self.server.sendall(line, to=[m.client for m in members if m.plain])

    def _on_gap(self) -> None:
        """Let all clients reconnect, to get what they missed."""
        logging.warning("events are missing: all clients have to connect again")
        for client in self.server.clients:
            self.server.close(client, 1012, "connect again")

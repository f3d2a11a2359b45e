"""The clients of a server, and the rooms that they are in."""

from __future__ import annotations

import threading
from typing import Any, Callable, Iterable, Union

from .engine.connection import Connection
from .engine.sockets import Client

Targets = Union[str, Client, Iterable[Client]]
"""A room, a client, or several clients."""


class Rooms:
    """The clients of a server, each with its connection, and the rooms that they are in.

    Any thread may call any method.

    Args:
        count: Called with a room and its new number of clients whenever this number changes. The
            room None stands for all clients. Must not block.
    """

    def __init__(self, count: Callable[[str | None, int], Any]) -> None:
        self.lock: Any = threading.RLock()
        """Guards all attributes. Held only briefly. Reentrant: `Lifecycle.wait` has to know whether
        the calling thread holds it."""
        self.clients: dict[Client, Connection] = {}
        """All clients, in order of arrival. Only `enter` and `remove` change it."""
        self._count = count
        self._rooms: dict[str, dict[Client, Connection]] = {}
        self._memberships: dict[Client, set[str]] = {}  # of the clients that are in any room

    def enter(self, client: Client, connection: Connection) -> None:
        """Add a client."""
        with self.lock:
            self.clients[client] = connection
            self._count(None, len(self.clients))

    def remove(self, client: Client) -> None:
        """Remove a client, from its rooms too."""
        with self.lock:
            if self.clients.pop(client, None) is not None:
                self._count(None, len(self.clients))
                for room in self._memberships.pop(client, ()):
                    self._take_out(client, room)

    def orphan(self) -> None:
        """Forget all, because this is a forked child. Takes no lock, and counts nothing."""
        self.lock = threading.RLock()  # another thread may have held it
        self._count = lambda room, clients: None
        for one in (self.clients, self._rooms, self._memberships):
            one.clear()

    def join(self, client: Client, room: str) -> None:
        """Put a client into a room. Does nothing if the client has left the server."""
        with self.lock:  # defence: lock-of-joining
            connection = self.clients.get(client)
            if connection is not None:
                members = self._rooms.setdefault(room, {})
                members[client] = connection
                self._memberships.setdefault(client, set()).add(room)
                self._count(room, len(members))

    def leave(self, client: Client, room: str) -> None:
        """Take a client out of a room. A room without clients vanishes."""
        with self.lock:  # defence: lock-of-leaving
            memberships = self._memberships.get(client)
            if memberships and room in memberships:
                memberships.discard(room)
                if not memberships:
                    del self._memberships[client]
                self._take_out(client, room)

    def _take_out(self, client: Client, room: str) -> None:
        members = self._rooms[room]
        del members[client]
        if not members:
            del self._rooms[room]
        self._count(room, len(members))

    def presence(self, room: str | None) -> int:
        """Return how many clients are in a room, or with None, on this server."""
        with self.lock:
            return len(self.clients if room is None else self._rooms.get(room, ()))

    def is_empty(self) -> bool:
        """Say whether there are no clients, and nothing is kept of earlier ones."""
        with self.lock:
            return not (self.clients or self._rooms or self._memberships)

    def snapshot(self) -> dict[str, list[Client]]:
        """Return all rooms with their clients, in order of joining."""
        with self.lock:
            return {room: list(members) for room, members in self._rooms.items()}

    def select(self, to: Targets | None, exclude: Targets = ()) -> list[Connection]:
        """Return the connections of the clients that *to* names, without those of *exclude*.

        Args:
            to: None for all clients. Clients that have left are passed over.
        """
        if to is None and not exclude:
            return list(self.clients.values())
        chosen = self._members(to)
        if exclude:
            for client in self._members(exclude):
                chosen.pop(client, None)
        return list(chosen.values())

    def _members(self, targets: Targets | None) -> dict[Client, Connection]:
        """Return the clients that *targets* names, with their connections, in a new dict."""
        if targets is None:
            return self.clients.copy()
        if isinstance(targets, str):
            with self.lock:
                return dict(self._rooms.get(targets, ()))
        members = {}
        for client in [targets] if isinstance(targets, Client) else targets:
            connection = self.clients.get(client)
            if connection is not None:
                members[client] = connection
            else:
                check_client(client)
        return members


def check_client(client: Any) -> None:
    """Check that a target is a `Client`, whether it is connected or has left.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(client, Client):
        raise TypeError(f"a client is needed, as in server.clients, not {type(client).__name__}")

"""Servers on a backplane, in this process."""

from __future__ import annotations

import contextlib

from tests.support.client import Client
from tests.support.waiting import eventually
from ws import WSServer
from ws.redis import RedisBackplane

LONG = 30.0
"""Seconds to wait for something that needs a restart of Redis."""


class Node:
    """A server on a backplane, in this process; a client enters the room that its path names."""

    def __init__(self, url, **options):
        self.backplane = RedisBackplane(url, **options)
        self.clients = []
        self.server = server = WSServer("127.0.0.1", 0, backplane=self.backplane)
        server.onopen(lambda client: server.join(client, client.request.path[1:]))
        server.onmessage(lambda client, message: server.sendall(message))
        self.server.start()

    @property
    def state(self):
        return self.server.stats()["backplane"]["state"]

    def connect(self, room=""):
        """Return a client that is in its room."""
        before = len(self.server.rooms.get(room, ()))
        client = Client(self.server.port, f"/{room}")
        eventually(lambda: len(self.server.rooms.get(room, ())) > before)
        self.clients.append(client)
        return client

    def end(self):
        for client in self.clients:
            client.close()
        self.server.shutdown()


@contextlib.contextmanager
def nodes(url, number=2, **options):
    with contextlib.ExitStack() as stack:
        started = [Node(url, **options) for _ in range(number)]
        for node in started:
            stack.callback(node.end)
        yield started


@contextlib.contextmanager
def joined(url, number=2, **options):
    """Run nodes that have found Redis."""
    with nodes(url, number, **options) as started:
        eventually(lambda: all(node.state == "up" for node in started), LONG)
        yield started

"""Servers for the live tests: each on a port of its own, and shut down at the end."""

from __future__ import annotations

import queue
import sys
import threading

import pytest

from tests.support import ROOT
from tests.support.processes import popen
from tests.support.rawclient import connect
from tests.support.rawserver import RawServer
from tests.support.waiting import DEADLINE
from ws import WSServer


class Serving:
    """A server in the background that notes its events and echoes messages."""

    def __init__(self, **options):
        self.events = queue.Queue()
        self.peers = []  # kept, or they would be closed
        self.server = WSServer(options.pop("host", "127.0.0.1"), options.pop("port", 0), **options)
        self.server.onopen(lambda client: self.note("open", client))
        self.server.onclose(lambda client: self.note("close", client))
        self.server.onmessage(self.server.send)
        self.server.start()
        self.port = self.server.port

    @property
    def active(self):
        """How many connections there are, with those in a handshake and those that are closing."""
        return self.server.stats()["active_connections"]

    @property
    def queued(self):
        """How many bytes wait for the clients."""
        return self.server.stats()["queued"]

    @property
    def service(self):
        """The server's parts, for tests of its inside."""
        return self.server._service  # there is no public way to them, on purpose

    def connection(self, client):
        """Return the server's connection of a client."""
        return self.service.rooms.clients[client]

    def gated(self, gate):
        """Let messages that say "wait" wait for the gate before they are echoed."""

        @self.server.onmessage
        def wait(client, message):
            if message == "wait":
                gate.wait(DEADLINE)
            self.server.send(client, message)

    def note(self, name, client):
        self.events.put((name, client))

    def next(self, name):
        """Return the client of the next event, which must be of this name."""
        event, client = self.events.get(timeout=DEADLINE)
        assert event == name
        return client

    def connect(self, *fields, **options):
        """Return a client and the server's side of it."""
        peer = connect(self.port, "/", *fields, **options)
        self.peers.append(peer)
        return peer, self.next("open")


@pytest.fixture
def serve():
    """Start a server with the given options; it is shut down after the test."""
    servings = []

    def start(**options):
        servings.append(Serving(**options))
        return servings[-1]

    yield start
    for serving in servings:
        for peer in serving.peers:
            peer.close()
        serving.server.shutdown(0.3)


@pytest.fixture
def gate():
    """An event that callbacks wait for; set at the end in any case."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def program():
    """Run Python source as a program of its own; it is killed after the test."""
    processes = []

    def start(source, *arguments):
        command = [sys.executable, "-c", source, *map(str, arguments)]
        process = popen(command, cwd=str(ROOT))
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def raw():
    """Start a server that runs a script for each connection; the result is its URL."""
    servers = []

    def start(*script, **options):
        servers.append(RawServer(*script, **options))
        return servers[-1].url

    yield start
    for server in servers:
        server.close()

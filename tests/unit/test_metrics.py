"""Counters: totals over ended and present connections."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ws.metrics import Metrics

COUNTERS = ("bytes_in", "bytes_out", "messages_in", "messages_out")
MEMORY = ("memory_refusals", "memory_pauses", "memory_cuts")


class Admission:
    """The present connections."""

    def __init__(self):
        self.connections = []
        self.accepted = 0
        budget = SimpleNamespace(total=0, limit=1000, weight=lambda connection: 5)
        self.overload = SimpleNamespace(budget=budget, refusals=0, pauses=0, cuts=0)

    def leave(self, connection):
        self.connections.remove(connection)


class Client:
    latency = 0.25

    def getpeername(self):
        return "1.1.1.1", 7


class Server:
    def __init__(self):
        self.admission = Admission()
        self.metrics = Metrics(self.admission)

    def connect(self, queued=0):
        connection = SimpleNamespace(bytes_in=0, messages_in=0)
        connection.outbox = SimpleNamespace(bytes_out=0, messages_out=0, queued=queued)
        self.admission.connections.append(connection)
        self.admission.accepted += 1
        return connection

    def stats(self, clients=(), threads=0):
        return self.metrics.snapshot(dict(clients), threads)

    def totals(self):
        stats = self.stats()
        return [stats[name] for name in COUNTERS]


def transfer(connection, bytes_in, bytes_out, messages_in=1, messages_out=1):
    connection.bytes_in += bytes_in
    connection.messages_in += messages_in
    connection.outbox.bytes_out += bytes_out
    connection.outbox.messages_out += messages_out


@pytest.fixture
def server():
    return Server()


def test_a_new_server_has_counted_nothing(server):
    stats = server.stats()
    assert stats.pop("clients") == []
    assert stats.pop("max_memory") == 1000
    now = {"active_connections", "queued", "threads", "memory"}
    assert set(stats) == {*COUNTERS, *MEMORY, "connections", *now}
    assert set(stats.values()) == {0}


def test_totals_are_of_those_here_and_those_gone(server):
    one, two = server.connect(), server.connect()
    transfer(one, 10, 20)
    transfer(two, 100, 200, 3, 4)
    assert server.totals() == [110, 220, 4, 5]
    server.metrics.ended(one)
    assert server.totals() == [110, 220, 4, 5], "an end changes no total"
    transfer(two, 1, 1, 0, 0)
    server.metrics.ended(two)
    assert server.totals() == [111, 221, 4, 5]


def test_connections_since_the_start_and_now(server):
    one, _ = server.connect(), server.connect()
    server.metrics.ended(one)
    server.connect()
    stats = server.stats()
    assert (stats["connections"], stats["active_connections"]) == (3, 2)


def test_bytes_that_wait(server):
    one, two = server.connect(queued=5), server.connect(queued=7)
    assert server.stats()["queued"] == 12
    server.metrics.ended(two)
    assert server.stats()["queued"] == 5, "nothing waits for those that have ended"
    one.outbox.queued = 0
    assert server.stats()["queued"] == 0


def test_memory(server):
    overload = server.admission.overload
    overload.budget.total, overload.refusals, overload.pauses, overload.cuts = 7, 1, 2, 3
    stats = server.stats()
    assert stats["memory"] == 7
    assert [stats[name] for name in MEMORY] == [1, 2, 3]


def test_each_client_by_itself(server):
    server.connect()  # one in its handshake is no client
    connection = server.connect(queued=3)
    transfer(connection, 10, 20, 1, 2)
    client = Client()
    stats = server.stats({client: connection}, threads=4)
    assert stats["threads"] == 4
    (entry,) = stats["clients"]
    assert entry == {
        "address": ("1.1.1.1", 7),
        "queued": 3,
        "memory": 5,
        "latency": 0.25,
        "bytes_in": 10,
        "bytes_out": 20,
        "messages_in": 1,
        "messages_out": 2,
    }


def test_a_snapshot_is_not_changed_later(server):
    connection = server.connect()
    before = server.stats()
    transfer(connection, 10, 20)
    server.metrics.ended(connection)
    assert before["bytes_in"] == 0 and before["active_connections"] == 1

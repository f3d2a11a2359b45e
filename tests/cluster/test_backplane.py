"""The backplane on a real Redis: who gets a message, and what happens without Redis."""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import time

import pytest
import redis

from tests.cluster.programs import Redis, RedisProxy
from tests.support.certificates import authority
from tests.support.rawclient import connect
from tests.support.waiting import eventually
from ws import WSServer
from ws.redis import RedisBackplane

LONG = 30.0
"""Seconds to wait for something that takes a restart of Redis."""


class Node:
    """A server on a backplane, in this process; a client enters the room that its path names."""

    def __init__(self, url, **options):
        self.backplane = RedisBackplane(url, **options)
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
        client = connect(self.server.port, f"/{room}")
        eventually(lambda: len(self.server.rooms.get(room, ())) > before)
        return client


@contextlib.contextmanager
def nodes(url, number=2, **options):
    with contextlib.ExitStack() as stack:
        started = [Node(url, **options) for _ in range(number)]
        for node in started:
            stack.callback(node.server.shutdown, 0.3)  # the clients here don't answer
        yield started


@contextlib.contextmanager
def joined(url, number=2, **options):
    """Run nodes that have found Redis."""
    with nodes(url, number, **options) as started:
        eventually(lambda: all(node.state == "up" for node in started), LONG)
        yield started


def subscribed(server, node, *rooms):
    """Wait until a node hears of rooms."""
    with contextlib.closing(redis.Redis.from_url(server.url)) as asks:
        channels = [f"ws:room:{room}" for room in rooms]
        eventually(lambda: all(count for _, count in asks.pubsub_numsub(*channels)))


@pytest.fixture(scope="module")
def server():
    with Redis() as server:
        yield server


@pytest.fixture
def own_server():
    """A Redis that the test may kill."""
    with Redis() as server:
        yield server


@pytest.fixture
def link(own_server):
    with RedisProxy(own_server.port) as link:
        yield link


@pytest.fixture
def quick(monkeypatch):
    """Nodes that check Redis each second, not every five."""
    monkeypatch.setattr("ws.redis.HEARTBEAT_SECONDS", 1.0)


def talk(client, numbers, size=0):
    """Have a node send each number to all; return how many took long to come back from it."""
    late = 0
    for number in numbers:
        began = time.monotonic()
        client.send(f"{number} {'x' * size}")
        assert int(client.recv().split()[0]) == number
        late += time.monotonic() - began > 0.1
    return late


def heard(client, last):
    """Return the numbers that reach a client, up to the last."""
    numbers = []
    while not numbers or numbers[-1] < last:
        numbers.append(int(client.recv().split()[0]))
    return numbers


def stats(node):
    return node.server.stats()["backplane"]


MESSAGES = ("", "text", "ünï ☃ 😀", b"", b"\x00\xff", "x" * 70_000, bytes(70_000))


def test_sendall_reaches_all_clients_of_all_nodes_in_order(server):
    with joined(server.url, 3) as (first, second, third):
        clients = [node.connect() for node in (first, second, third, third)]
        for message in MESSAGES:
            assert first.server.sendall(message) == 1
        for client in clients:
            assert [client.recv() for _ in MESSAGES] == list(MESSAGES)


def test_many_messages_of_several_senders_keep_each_sender_s_order(server):
    with joined(server.url, 2) as (first, second):
        reader = second.connect()
        senders = [first.connect(), first.connect(), second.connect()]
        for number in range(300):
            for sender, client in enumerate(senders):
                client.send(f"{sender} {number}")
        got = [reader.recv().split() for _ in range(900)]
        for sender in "012":
            assert [int(n) for who, n in got if who == sender] == list(range(300))


def test_rooms_are_apart_and_excluded_ones_left_out(server):
    with joined(server.url) as (first, second):
        tea, coffee = second.connect("tea"), second.connect("coffee")
        both = second.connect("tea")
        (client,) = second.server.rooms["tea"][1:]
        second.server.join(client, "coffee")
        subscribed(server, second, "tea", "coffee")
        assert first.server.sendall("to nobody here", to="tea", exclude="coffee") == 0
        first.server.sendall("to coffee", to="coffee")
        first.server.sendall("to all but tea", exclude="tea")
        first.server.sendall("to all")
        assert [tea.recv(), tea.recv()] == ["to nobody here", "to all"]
        assert [coffee.recv() for _ in range(3)] == ["to coffee", "to all but tea", "to all"]
        assert [both.recv(), both.recv()] == ["to coffee", "to all"]


def test_clients_as_targets_are_those_of_the_node_alone(server):
    with joined(server.url) as (first, second):
        here, there = first.connect(), second.connect()
        (client,) = first.server.clients
        first.server.sendall("only here", to=client)
        first.server.sendall("there", exclude=client)
        first.server.sendall("both")
        assert [here.recv(), here.recv()] == ["only here", "both"]
        assert [there.recv(), there.recv()] == ["there", "both"]


def test_prefixes_are_apart(server):
    with joined(server.url, 1, prefix="a") as (a,), joined(server.url, 1, prefix="b") as (b,):
        client = b.connect()
        a.server.sendall("for a")
        b.server.sendall("for b")
        assert client.recv() == "for b"


@pytest.mark.parametrize("room", ["", "a:b", "ünï ☃", "\ud800", "x" * 70_000])
def test_any_string_is_a_room(server, room):
    with joined(server.url) as (first, second):
        client = second.connect("elsewhere")
        (member,) = second.server.clients
        second.server.join(member, room)
        eventually(lambda: first.server.presence(room) == 1)
        eventually(lambda: first.server.sendall("x", to=room, exclude="none") == 0 and _has(client))
        assert client.recv() == "x"


def _has(client):
    client.sock.settimeout(0.05)
    try:
        client.receive()
    except OSError:
        return False
    finally:
        client.sock.settimeout(LONG)
    return True


def test_presence_counts_all_nodes_and_follows(server):
    with joined(server.url, 3, prefix="presence") as (first, second, third):
        clients = [first.connect("tea"), second.connect("tea"), second.connect("coffee")]
        for node in (first, second, third):
            eventually(lambda node=node: node.server.presence() == 3)
            eventually(lambda node=node: node.server.presence("tea") == 2)
            assert node.server.presence("milk") == 0
        clients[1].close()
        eventually(lambda: first.server.presence("tea") == 1)
        second.server.shutdown(0.3)
        eventually(lambda: third.server.presence() == 1)


def test_without_redis_a_node_serves_its_own_clients_and_says_so_once(own_server, caplog):
    own_server.kill()
    with nodes(own_server.url, 2) as (first, second):
        here, there = first.connect(), second.connect()
        for number in range(10):
            here.send(f"alone {number}")
            assert here.recv() == f"alone {number}"
        assert (first.state, first.server.presence(), first.server.presence("")) == ("away", 1, 1)
        time.sleep(0.5)  # for more lines, if there were more
        assert [r.levelname for r in caplog.records if r.name == "ws"] == ["WARNING"] * 2
        own_server.start()
        assert [there.recv() for _ in range(10)] == [f"alone {number}" for number in range(10)]
        eventually(lambda: "back after" in caplog.text, LONG)
        eventually(lambda: first.server.presence() == 2, LONG)


def test_what_is_said_while_redis_restarts_comes_late_but_once_and_in_order(own_server, caplog):
    with joined(own_server.url, 2) as (first, second):
        here, there = first.connect(), second.connect()
        for number in range(600):
            here.send(str(number))
            assert here.recv() == str(number)
            if number == 200:
                own_server.kill()
            if number == 400:
                own_server.start()
        got = [int(there.recv()) for _ in range(598)]
        # What was on its way inside Redis is lost: at most once, and in order.
        assert got == sorted(set(got)) and got[:195] == list(range(195))
        eventually(lambda: second.state == "up", LONG)
        assert first.server.stats()["backplane"]["dropped"] == 0
        about = [r.getMessage() for r in caplog.records if r.name == "ws"]
        assert len(about) <= 4, about


def test_a_redis_that_hangs_delays_nobody_here(own_server, quick, caplog):
    with joined(own_server.url, timeout=2.0) as (first, second):
        here, there = first.connect(), second.connect()
        own_server.signal(signal.SIGSTOP)
        assert talk(here, range(50)) <= 2
        assert first.server.presence() == 1
        eventually(lambda: first.state == second.state == "away", LONG)
        own_server.signal(signal.SIGCONT)
        assert heard(there, 49) == list(range(50))
        eventually(lambda: first.state == second.state == "up", LONG)
    assert [r.levelname for r in caplog.records if r.name == "ws"] == ["WARNING"] * 4


def test_the_buffer_drops_the_oldest(own_server):
    own_server.kill()
    with nodes(own_server.url, 2, buffer=10_000) as (first, second):
        there = second.connect()
        for number in range(100):
            first.server.sendall(f"{number:04} " + "x" * 1000)
        stats = first.server.stats()["backplane"]
        assert stats["dropped"] > 80 and stats["buffered"] <= 10_000
        own_server.start()
        first_to_come = int(there.recv()[:4])
        assert first_to_come == stats["dropped"]
        assert [int(there.recv()[:4]) for _ in range(first_to_come + 1, 100)]


def test_password_and_tls_come_with_the_url(tmp_path, certificate):
    authority().cert_pem.write_to_path(tmp_path / "ca.pem")
    files = ("--tls-cert-file", certificate.cert, "--tls-key-file", certificate.key)
    options = ("--requirepass", "secret", "--tls-auth-clients", "no", *files)
    trust = f"?ssl_ca_certs={tmp_path}/ca.pem"
    with Redis(*options, "--tls-ca-cert-file", f"{tmp_path}/ca.pem", scheme="rediss") as server:
        url = server.url.replace("//", "//:secret@") + trust
        with joined(url) as (first, second):
            client = second.connect()
            first.server.sendall("sealed")
            assert client.recv() == "sealed"
        for wrong in (server.url + trust, server.url.replace("//", "//:secret@")):
            with nodes(wrong, 1) as (node,):
                client = node.connect()
                client.send("alone")
                assert client.recv() == "alone"
                assert node.state == "away"


def test_what_redis_refuses_is_said_once(own_server, caplog):
    with contextlib.closing(redis.Redis.from_url(own_server.url)) as admin:
        everything_but = ("on", "nopass", "~*", "+@all", "resetchannels", "&ws:node:*", "&ws:all")
        admin.execute_command("ACL", "SETUSER", "limited", *everything_but)
    url = own_server.url.replace("//", "//limited:x@")
    with joined(url, 1) as (node,):
        for _ in range(20):
            node.server.sendall("x", to="forbidden")
        eventually(lambda: node.server.stats()["backplane"]["dropped"] == 20)
        node.server.sendall("y")
        eventually(lambda: node.server.stats()["backplane"]["published"] == 1)
        assert node.state == "up"
    assert sum(r.levelno == logging.ERROR for r in caplog.records) == 1


def test_a_slow_redis_delays_nobody_here(link, quick, caplog):
    with joined(link.url) as (first, second):
        here, there = first.connect(), second.connect()
        link.delay = 0.2
        assert talk(here, range(50)) <= 2  # as the machine was busy
        assert heard(there, 49) == list(range(50))
        eventually(lambda: stats(first)["latency"] >= 2 * link.delay)
        assert (stats(first)["state"], stats(first)["outages"]) == ("up", 0)
    assert not [r for r in caplog.records if r.name == "ws"]


def test_a_narrow_way_to_redis_costs_what_doesn_t_fit(link, quick, caplog):
    with joined(link.url, buffer=100_000) as (first, second):
        here, there = first.connect(), second.connect()
        link.rate = 100_000
        assert talk(here, range(500), 1000) <= 2
        assert stats(first)["buffered"] < 102_000  # the newest is kept in any case
        got = heard(there, 499)
        assert got == sorted(set(got)) and len(got) < 500
        eventually(lambda: stats(first)["published"] == len(got))  # and none was lost further on
        assert stats(first)["dropped"] == 500 - len(got)
        link.rate = math.inf
        talk(here, range(500, 590), 1000)  # which the buffer holds, however slow the machine is
        assert heard(there, 589) == list(range(500, 590))
        assert stats(first)["outages"] == stats(second)["outages"] == 0
    assert not [r for r in caplog.records if r.name == "ws"]


@pytest.mark.parametrize(("seconds", "outages"), [(0.5, 0), (5.0, 1)])
def test_a_redis_that_pauses_delays_all_but_nobody_here(
    own_server, quick, caplog, seconds, outages
):
    admin = redis.Redis.from_url(own_server.url)
    with contextlib.closing(admin), joined(own_server.url, timeout=2.0) as (first, second):
        here, there = first.connect(), second.connect()
        admin.client_pause(int(seconds * 1000))
        assert talk(here, range(50)) <= 2
        assert heard(there, 49) == list(range(50))
        eventually(lambda: first.state == second.state == "up", LONG)
        talk(here, range(50, 100))
        assert heard(there, 99) == list(range(50, 100))
        assert stats(first)["outages"] == outages
        lines = [r.getMessage() for r in caplog.records if r.name == "ws"]
        assert len(lines) == 2 * (outages + stats(second)["outages"]), lines


@pytest.mark.parametrize("old", ["is killed", "becomes a replica"])
def test_a_replica_takes_over(own_server, link, quick, caplog, old):
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(Redis("--replicaof", "127.0.0.1", str(own_server.port)))
        admins = [redis.Redis.from_url(server.url) for server in (own_server, other)]
        primary, replica = (stack.enter_context(contextlib.closing(admin)) for admin in admins)
        primary.config_set("repl-diskless-sync-delay", 0)
        eventually(lambda: primary.wait(1, 100), LONG)
        first, second = stack.enter_context(joined(link.url))
        here, there = first.connect(), second.connect()
        talk(here, range(50))
        assert heard(there, 49) == list(range(50))
        if old == "is killed":
            own_server.kill()
            replica.replicaof("NO", "ONE")
        else:
            primary.execute_command("FAILOVER")
            eventually(lambda: replica.role()[0] == b"master", LONG)
        link.target = other.port
        assert talk(here, range(50, 100)) <= 2
        for node in (first, second):
            eventually(lambda node=node: (node.state, stats(node)["outages"]) == ("up", 1), LONG)
        talk(here, range(100, 150))
        assert heard(there, 149) == list(range(50, 150))
        eventually(lambda: first.server.presence() == second.server.presence() == 2)
        assert len([r for r in caplog.records if r.name == "ws"]) == 4


def test_without_a_backplane_presence_is_of_this_server():
    with WSServer("127.0.0.1", 0) as server, connect(server.port):
        eventually(lambda: server.presence() == 1)
        server.join(server.clients[0], "tea")
        assert (server.presence("tea"), server.presence("coffee")) == (1, 0)
        assert "backplane" not in server.stats()


def test_reuse_port_shares_a_port():
    with WSServer("127.0.0.1", 0, reuse_port=True) as first:
        with WSServer("127.0.0.1", first.port, reuse_port=True) as second:

            def both():
                clients.append(connect(first.port))
                return first.clients and second.clients

            clients = []
            eventually(both)
            for client in clients:
                client.close()
        with pytest.raises(OSError, match="can't listen"):
            WSServer("127.0.0.1", first.port).start()


def test_options_that_make_no_sense_are_refused():
    for options in ({"buffer": 0}, {"timeout": 0}, {"timeout": -1}):
        with pytest.raises(ValueError):
            RedisBackplane("redis://localhost", **options)
    with pytest.raises(ValueError):
        RedisBackplane("http://localhost")


def test_a_stop_publishes_what_waits(server):
    with joined(server.url) as (first, second):
        client = second.connect()
        for number in range(2000):
            first.server.sendall(str(number))
        assert first.server.shutdown()  # nobody is there to wait for
        assert [client.recv() for _ in range(2000)] == [str(number) for number in range(2000)]

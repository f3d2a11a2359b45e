"""The backplane on a real Redis: who gets a message, and how many clients there are."""

from __future__ import annotations

import contextlib
import sys

import pytest
import redis

from tests.cluster.nodes import joined, nodes
from tests.cluster.programs import Redis
from tests.support.certificates import authority
from tests.support.client import Client
from tests.support.processes import Program
from tests.support.waiting import eventually
from ws import WSServer
from ws.redis import RedisBackplane


def subscribed(server, node, *rooms):
    """Wait until a node hears of rooms."""
    with contextlib.closing(redis.Redis.from_url(server.url)) as asks:
        channels = [f"ws:room:{room}" for room in rooms]
        eventually(lambda: all(count for _, count in asks.pubsub_numsub(*channels)))


@pytest.fixture(scope="module")
def server():
    with Redis() as server:
        yield server


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

        def reaches():
            assert first.server.sendall("x", to=room, exclude="none") == 0
            with contextlib.suppress(TimeoutError):
                return client.recv(0.05) == "x"

        eventually(reaches)


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


NODE = """
import sys, ws.redis
from ws import WSServer

ws.redis.HEARTBEAT_SECONDS = 1.0
server = WSServer("127.0.0.1", 0, backplane=ws.redis.RedisBackplane(sys.argv[1], prefix="killed"))

@server.onopen
def enter(client):
    for number in range(50):
        server.join(client, str(number))

server.start()
print(server.port, flush=True)
sys.stdin.read()
"""


def test_nothing_is_left_in_redis_of_a_node_that_is_killed(server, monkeypatch):
    monkeypatch.setattr("ws.redis.HEARTBEAT_SECONDS", 1.0)
    with contextlib.ExitStack() as stack:
        asks = stack.enter_context(contextlib.closing(redis.Redis.from_url(server.url)))
        killed = stack.enter_context(Program([sys.executable, "-c", NODE, server.url], talks=True))
        client = stack.enter_context(Client(int(killed.read_line())))
        with joined(server.url, 1, prefix="killed") as (node,):
            eventually(lambda: node.server.presence("49") == 1)
            assert len(asks.keys("killed:*")) == 3
            killed.kill()
            client.close()
            eventually(lambda: len(asks.keys("killed:*")) == 2)
            assert node.server.presence("49") == 0
            with joined(server.url, 1, prefix="killed"):
                eventually(lambda: asks.scard("killed:nodes") == 2)
        eventually(lambda: not asks.keys("killed:*"))


def test_a_node_that_was_taken_for_killed_counts_again(server, monkeypatch):
    monkeypatch.setattr("ws.redis.HEARTBEAT_SECONDS", 1.0)
    asks = contextlib.closing(redis.Redis.from_url(server.url))
    with asks as asks, joined(server.url, prefix="stalled") as (first, second):
        clients = [second.connect("tea") for _ in range(2)]
        eventually(lambda: first.server.presence("tea") == 2)
        for key in asks.keys("stalled:*"):  # as if it had expired
            asks.delete(key)
        assert first.server.presence("tea") == 0
        eventually(lambda: first.server.presence("tea") == 2)
        clients.append(second.connect("tea"))
        eventually(lambda: first.server.presence("tea") == 3)
        assert all(asks.ttl(key) > 0 for key in asks.keys("stalled:*"))


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


def test_without_a_backplane_presence_is_of_this_server():
    with WSServer("127.0.0.1", 0) as server, Client(server.port):
        eventually(lambda: server.presence() == 1)
        server.join(server.clients[0], "tea")
        assert (server.presence("tea"), server.presence("coffee")) == (1, 0)
        assert "backplane" not in server.stats()


def test_reuse_port_shares_a_port():
    with WSServer("127.0.0.1", 0, reuse_port=True) as first:
        with WSServer("127.0.0.1", first.port, reuse_port=True) as second:

            def both():
                clients.append(Client(first.port))
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

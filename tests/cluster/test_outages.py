"""The backplane while Redis is unavailable, slow, or replaced by another one."""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import time

import pytest
from redis import Redis as Client

from tests.cluster.nodes import LONG, joined, nodes
from tests.cluster.programs import Redis
from tests.support.waiting import eventually


@pytest.fixture
def quick(monkeypatch):
    """Options of nodes that check Redis every second; the default is five."""
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


def test_without_redis_a_node_serves_its_own_clients_and_says_so_once(redis, caplog):
    redis.kill()
    with nodes(redis.url, 2) as (first, second):
        here, there = first.connect(), second.connect()
        for number in range(10):
            here.send(f"alone {number}")
            assert here.recv() == f"alone {number}"
        assert (first.state, first.server.presence(), first.server.presence("")) == ("away", 1, 1)
        time.sleep(0.5)  # for more lines, if there were more
        assert [r.levelname for r in caplog.records if r.name == "ws"] == ["WARNING"] * 2
        redis.start()
        assert [there.recv() for _ in range(10)] == [f"alone {number}" for number in range(10)]
        eventually(lambda: "back after" in caplog.text, LONG)
        eventually(lambda: first.server.presence() == 2, LONG)


def test_what_is_said_while_redis_restarts_comes_late_but_once_and_in_order(redis, caplog):
    with joined(redis.url, 2) as (first, second):
        here, there = first.connect(), second.connect()
        for number in range(600):
            here.send(str(number))
            assert here.recv() == str(number)
            if number == 200:
                redis.kill()
            if number == 400:
                redis.start()
        got = [int(there.recv()) for _ in range(598)]
        # What was on its way inside Redis is lost: at most once, and in order.
        assert got == sorted(set(got)) and got[:195] == list(range(195))
        eventually(lambda: second.state == "up", LONG)
        assert first.server.stats()["backplane"]["dropped"] == 0
        about = [r.getMessage() for r in caplog.records if r.name == "ws"]
        assert len(about) <= 4, about


def test_a_redis_that_hangs_delays_nobody_here(redis, quick, caplog):
    with joined(redis.url, timeout=2.0) as (first, second):
        here, there = first.connect(), second.connect()
        redis.signal(signal.SIGSTOP)
        assert talk(here, range(50)) <= 2
        assert first.server.presence() == 1
        eventually(lambda: first.state == second.state == "away", LONG)
        redis.signal(signal.SIGCONT)
        assert heard(there, 49) == list(range(50))
        eventually(lambda: first.state == second.state == "up", LONG)
    logged = [r.getMessage() for r in caplog.records if r.name == "ws"]
    lost, back = (sum(text in line for line in logged) for text in ("no Redis", "is back"))
    # A node may take Redis for away once more, on a machine that is as slow as a Redis that hangs
    assert 2 <= lost == back <= 4 and lost + back == len(logged), logged


def test_the_buffer_drops_the_oldest(redis):
    redis.kill()
    with nodes(redis.url, 2, buffer=10_000) as (first, second):
        there = second.connect()
        for number in range(100):
            first.server.sendall(f"{number:04} " + "x" * 1000)
        stats = first.server.stats()["backplane"]
        assert stats["dropped"] > 80 and stats["buffered"] <= 10_000
        redis.start()
        first_to_come = int(there.recv()[:4])
        assert first_to_come == stats["dropped"]
        assert [int(there.recv()[:4]) for _ in range(first_to_come + 1, 100)]


def test_what_redis_refuses_is_said_once(redis, caplog):
    with contextlib.closing(Client.from_url(redis.url)) as admin:
        everything_but = ("on", "nopass", "~*", "+@all", "resetchannels", "&ws:node:*", "&ws:all")
        admin.execute_command("ACL", "SETUSER", "limited", *everything_but)
    url = redis.url.replace("//", "//limited:x@")
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
        assert talk(here, range(50)) <= 2  # because the machine was busy
        assert heard(there, 49) == list(range(50))
        eventually(lambda: (stats(first)["latency"] or 0) >= 2 * link.delay)
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
        eventually(lambda: stats(first)["published"] == len(got))  # and none was lost later
        assert stats(first)["dropped"] == 500 - len(got)
        link.rate = math.inf
        talk(here, range(500, 550), 1000)  # the buffer has room for them
        assert heard(there, 549) == list(range(500, 550))
        assert stats(first)["outages"] == stats(second)["outages"] == 0
    assert not [r for r in caplog.records if r.name == "ws"]


@pytest.mark.parametrize(("seconds", "outages"), [(0.5, 0), (5.0, 1)])
def test_a_redis_that_pauses_delays_all_but_nobody_here(redis, quick, caplog, seconds, outages):
    admin = Client.from_url(redis.url)
    with contextlib.closing(admin), joined(redis.url, timeout=2.0) as (first, second):
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
def test_a_replica_takes_over(redis, link, quick, caplog, old):
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(Redis("--replicaof", "127.0.0.1", str(redis.port)))
        admins = [Client.from_url(server.url) for server in (redis, other)]
        primary, replica = (stack.enter_context(contextlib.closing(admin)) for admin in admins)
        primary.config_set("repl-diskless-sync-delay", 0)
        eventually(lambda: primary.wait(1, 100), LONG)
        first, second = stack.enter_context(joined(link.url))
        here, there = first.connect(), second.connect()
        talk(here, range(50))
        assert heard(there, 49) == list(range(50))
        if old == "is killed":
            redis.kill()
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

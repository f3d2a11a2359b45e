"""Three nodes behind a proxy, 3,000 clients; a node and then Redis are killed under traffic."""

from __future__ import annotations

import contextlib
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis as redis_py

from tests.cluster.crowd import Crowd
from tests.cluster.programs import Node, Proxy, Redis

CLIENTS, ROOMS = 3000, 60


@contextlib.contextmanager
def three_nodes(url):
    with contextlib.ExitStack() as stack:
        options = ("--redis", url, "--proxy", "127.0.0.1", "--max-clients", "3000")
        with ThreadPoolExecutor() as pool:
            started = list(pool.map(lambda _: Node(*options), range(3)))
        yield [stack.enter_context(node) for node in started]


@pytest.fixture
def nodes(redis):
    with three_nodes(redis.url) as nodes:
        yield nodes


def survive(url: str, redis: Redis, victim: Node) -> None:
    with Crowd(url, CLIENTS, ROOMS) as crowd:
        took = crowd.until(crowd.all_here, "not all are let in")
        print(f"{CLIENTS} clients are here after {took:.1f} s")
        crowd.talk(5, 10)
        crowd.until(crowd.all_heard, "not all have heard all")
        calm = sorted(crowd.delays)
        print(f"calm: median {statistics.median(calm) * 1000:.1f} ms, ", end="")
        print(f"99 % {calm[len(calm) * 99 // 100] * 1000:.1f} ms")

        crowd.talk(8, 16)
        time.sleep(3)
        victim.kill()
        time.sleep(0.5)
        lost = sum(not client.here for client in crowd.clients)
        took = crowd.until(crowd.all_here, "not all are back")
        print(f"a node killed: {lost} clients were cut, the last was back after {took:.1f} s")
        crowd.until(crowd.all_said, "not all was said")

        crowd.talk(5, 10)
        time.sleep(3)
        redis.kill()
        time.sleep(2)
        redis.start()
        crowd.until(crowd.all_said, "not all was said")
        took = crowd.until(crowd.all_heard, "not all have heard all")
        print(f"Redis killed: all had heard all {took:.1f} s after the last was said")
        print(crowd.summary())
        assert not crowd.faults(), crowd.faults()[:10]
        assert lost > CLIENTS / 6
        assert all(len(said) == 18 for said in crowd.said.values())


@pytest.mark.timeout(400)
def test_nothing_is_lost_and_nothing_comes_twice(redis, nodes, capsys):
    with Proxy("nginx.conf", [node.port for node in nodes]) as proxy, capsys.disabled():
        print()
        survive(f"ws://127.0.0.1:{proxy.port}/", redis, nodes[2])
    for node in nodes:
        assert "Traceback" not in node.output(), node.output()
        lines = node.output().splitlines()
        assert len(lines) < 10, "a flood of log lines:\n" + "\n".join(lines[:30])


@pytest.mark.parametrize("config", ["nginx.conf", "haproxy.cfg"])
def test_each_proxy_s_configuration_serves(redis, nodes, config):
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(Proxy(config, [node.port for node in nodes]))
        crowd = stack.enter_context(Crowd(f"ws://127.0.0.1:{proxy.port}/", 60, 3))
        crowd.until(crowd.all_here, "not all are let in")
        nodes[0].kill()
        crowd.talk(3, 1)
        crowd.until(lambda: crowd.all_here() and crowd.all_heard(), "not all are back")
        assert not crowd.faults(), crowd.faults()[:10]


def test_a_redis_that_is_slow_or_moves_loses_and_doubles_nothing(redis, link):
    with contextlib.ExitStack() as stack:
        nodes = stack.enter_context(three_nodes(link.url))
        proxy = stack.enter_context(Proxy("nginx.conf", [node.port for node in nodes]))
        replica = stack.enter_context(Redis("--replicaof", "127.0.0.1", str(redis.port)))
        primary = stack.enter_context(contextlib.closing(redis_py.Redis.from_url(redis.url)))
        primary.config_set("repl-diskless-sync-delay", 0)
        crowd = stack.enter_context(Crowd(f"ws://127.0.0.1:{proxy.port}/", 60, 3))
        crowd.until(crowd.all_here, "not all are let in")
        link.delay = 0.2
        crowd.talk(2, 1)
        crowd.until(crowd.all_said, "not all was said")
        link.delay = 0.0
        primary.client_pause(4000)  # longer than the nodes wait for Redis
        crowd.talk(2, 1)
        crowd.until(crowd.all_heard, "not all have heard all")
        primary.execute_command("FAILOVER")  # it goes on as a replica
        crowd.talk(2, 1)
        crowd.until(crowd.all_said, "not all was said")
        link.target = replica.port
        crowd.until(lambda: crowd.all_here() and crowd.all_heard(), "not all is heard")
        assert not crowd.faults(), crowd.faults()[:10]

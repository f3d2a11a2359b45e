"""Three nodes behind a proxy, 3,000 clients; a node and then Redis are killed under traffic."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
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


async def survive(url: str, redis: Redis, victim: Node) -> None:
    crowd = Crowd(url, CLIENTS, ROOMS)
    try:
        took = await crowd.until(crowd.all_here, "not all are let in")
        print(f"{CLIENTS} clients are here after {took:.1f} s")
        await crowd.talk(5, 10)
        await crowd.until(crowd.all_heard, "not all have heard all")
        calm = sorted(crowd.delays)
        print(f"calm: median {statistics.median(calm) * 1000:.1f} ms, ", end="")
        print(f"99 % {calm[len(calm) * 99 // 100] * 1000:.1f} ms")

        talking = asyncio.ensure_future(crowd.talk(8, 16))
        await asyncio.sleep(3)
        victim.kill()
        await asyncio.sleep(0.5)
        lost = sum(client.socket is None for client in crowd.clients)
        took = await crowd.until(crowd.all_here, "not all are back")
        print(f"a node killed: {lost} clients were cut, the last was back after {took:.1f} s")
        await talking

        talking = asyncio.ensure_future(crowd.talk(5, 10))
        await asyncio.sleep(3)
        redis.kill()
        await asyncio.sleep(2)
        await asyncio.get_running_loop().run_in_executor(None, redis.start)
        await talking
        took = await crowd.until(crowd.all_heard, "not all have heard all")
        print(f"Redis killed: all had heard all {took:.1f} s after the last was said")
        print(crowd.summary())
        assert not crowd.faults(), crowd.faults()[:10]
        assert lost > CLIENTS / 6
        assert all(len(said) == 18 for said in crowd.said.values())
    finally:
        crowd.end()


@pytest.mark.timeout(400)
def test_nothing_is_lost_and_nothing_comes_twice(redis, nodes, capsys):
    with Proxy("nginx.conf", [node.port for node in nodes]) as proxy, capsys.disabled():
        print()
        asyncio.run(survive(f"ws://127.0.0.1:{proxy.port}/", redis, nodes[2]))
    for node in nodes:
        assert "Traceback" not in node.output(), node.output()
        lines = node.output().splitlines()
        assert len(lines) < 10, "a flood of log lines:\n" + "\n".join(lines[:30])


@pytest.mark.parametrize("config", ["nginx.conf", "haproxy.cfg"])
def test_each_proxy_s_configuration_serves(redis, nodes, config):
    async def talk(url: str) -> None:
        crowd = Crowd(url, 60, 3)
        try:
            await crowd.until(crowd.all_here, "not all are let in")
            nodes[0].kill()
            await crowd.talk(3, 1)
            await crowd.until(lambda: crowd.all_here() and crowd.all_heard(), "not all are back")
            assert not crowd.faults(), crowd.faults()[:10]
        finally:
            crowd.end()

    with Proxy(config, [node.port for node in nodes]) as proxy:
        asyncio.run(talk(f"ws://127.0.0.1:{proxy.port}/"))


def test_a_redis_that_is_slow_or_moves_loses_and_doubles_nothing(redis, link):
    async def talk(url: str, replica: Redis) -> None:
        crowd = Crowd(url, 60, 3)
        try:
            await crowd.until(crowd.all_here, "not all are let in")
            link.delay = 0.2
            await crowd.talk(2, 1)
            link.delay = 0.0
            primary.client_pause(4000)  # longer than the nodes wait for Redis
            await crowd.talk(2, 1)
            await crowd.until(crowd.all_heard, "not all have heard all")
            primary.execute_command("FAILOVER")  # it goes on as a replica
            await crowd.talk(2, 1)
            link.target = replica.port
            await crowd.until(lambda: crowd.all_here() and crowd.all_heard(), "not all is heard")
            assert not crowd.faults(), crowd.faults()[:10]
        finally:
            crowd.end()

    with contextlib.ExitStack() as stack:
        nodes = stack.enter_context(three_nodes(link.url))
        proxy = stack.enter_context(Proxy("nginx.conf", [node.port for node in nodes]))
        replica = stack.enter_context(Redis("--replicaof", "127.0.0.1", str(redis.port)))
        primary = stack.enter_context(contextlib.closing(redis_py.Redis.from_url(redis.url)))
        primary.config_set("repl-diskless-sync-delay", 0)
        asyncio.run(talk(f"ws://127.0.0.1:{proxy.port}/", replica))

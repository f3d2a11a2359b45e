"""The cost of a hop over Redis, and the throughput of several nodes: docs/scale.md.

`python -m bench.scale.nodes --picture docs/scale.svg` prints its tables and draws the picture.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import statistics
import sys
import threading
import time
from typing import Any, Callable, Iterator

import redis
from matplotlib import pyplot

from tests.cluster.programs import Redis
from tests.support.processes import Program
from tests.support.rawclient import RawClient, connect
from tests.support.waiting import eventually

NODE = """
import sys
from ws import WSServer
from ws.redis import RedisBackplane
url = sys.argv[1]
options = {"backplane": RedisBackplane(url)} if url else {}
server = WSServer("127.0.0.1", 0, max_clients_per_address=10_000, **options)
server.onmessage(lambda client, message: server.sendall(message))
server.start()
print("port", server.port, flush=True)
server.run()
"""
"""A message reaches all clients of all nodes."""
ROUNDS = 1000
SECONDS = 2.0
NODES = 4
CLIENTS = 200
"""On each node."""
WINDOW = 32
"""Messages on their way at a time."""
MANY = 20
"""Messages of a round that don't wait for each other."""
DRAIN_SECONDS = 0.1
"""Pause between two reads of the clients that only listen."""
SIZE = 100
"""Bytes of a message."""


class Node(Program):
    def __init__(self, url: str) -> None:
        super().__init__([sys.executable, "-c", NODE, url])
        eventually(lambda: self.output().endswith("\n"), what="a node doesn't start")
        self.port = int(self.output().split()[1])


@contextlib.contextmanager
def nodes(url: str, number: int) -> Iterator[list[Node]]:
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(Node(url)) for _ in range(number)]
        time.sleep(0.5)  # for their subscriptions
        yield started


def percentiles(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    points = (statistics.median(ordered), ordered[len(ordered) * 99 // 100])
    return " | ".join(f"{point * 1e6:.0f}" for point in points)


def hop(server: Redis, rounds: int) -> Iterator[tuple[str, str]]:
    """Yield the time from one client to another on the same node, and on another node."""
    with nodes(server.url, 2) as (here, there):
        speaker, beside, beyond = (connect(node.port) for node in (here, here, there))
        local, remote = [], []
        for _ in range(rounds):
            began = time.perf_counter()
            speaker.send("x" * SIZE)
            beside.recv()
            local.append(time.perf_counter() - began)
            beyond.recv()
            remote.append(time.perf_counter() - began)
            speaker.recv()
        yield "to a client of the same node", percentiles(local)
        yield "to a client of another node", percentiles(remote)
        added = [after - before for before, after in zip(local, remote)]
        yield "added by the hop", percentiles(added)


def kinds(server: Redis, rounds: int) -> Iterator[tuple[str, str]]:
    """Yield times and CPU of pub/sub and of streams, with three readers each."""
    client: Any = redis.Redis.from_url(server.url)  # its methods may all be asynchronous, by type

    def pubsub(got: Callable[[bytes], None], ready: Callable[[], None]) -> None:
        subscription = client.pubsub()
        subscription.subscribe("measured")
        for message in subscription.listen():
            if message["type"] == "subscribe":
                ready()
            elif message["data"] == b"end":
                return
            else:
                got(message["data"])

    def stream(got: Callable[[bytes], None], ready: Callable[[], None]) -> None:
        last: Any = "$"
        ready()
        while True:
            for _, rows in client.xread({"measured": last}, count=1000, block=5000):
                for last, row in rows:  # noqa: B007
                    if row[b"x"] == b"end":
                        return
                    got(row[b"x"])

    def publish(to: Any, data: bytes) -> None:
        to.publish("measured", data)

    def add(to: Any, data: bytes) -> None:
        to.xadd("measured", {"x": data}, maxlen=10_000)

    for name, read, write in (("pub/sub", pubsub, publish), ("streams", stream, add)):
        heard, starting = threading.Semaphore(0), threading.Semaphore(0)

        def got(_: bytes, heard: threading.Semaphore = heard) -> None:
            heard.release()

        readers = [threading.Thread(target=read, args=(got, starting.release)) for _ in range(3)]
        for reader in readers:
            reader.start()
            starting.acquire()
        time.sleep(0.3)
        delays = []
        for _ in range(rounds):
            began = time.perf_counter()
            write(client, b"x" * SIZE)
            for _ in readers:
                heard.acquire()
            delays.append(time.perf_counter() - began)
        used, many = client.info("cpu"), MANY * rounds
        for _ in range(rounds):
            with client.pipeline(transaction=False) as pipeline:
                for _ in range(MANY):
                    write(pipeline, b"x" * SIZE)
                pipeline.execute()
        for _ in range(many * len(readers)):
            heard.acquire()
        after = client.info("cpu")
        cpu = sum(after[f"used_cpu_{kind}"] - used[f"used_cpu_{kind}"] for kind in ("user", "sys"))
        write(client, b"end")
        for reader in readers:
            reader.join()
        yield name, f"{percentiles(delays)} | {cpu / many * 1e6:.1f}"


def throughput(
    url: str, number: int, seconds: float, clients: int, window: int = WINDOW
) -> tuple[float, float, list[float]]:
    """Broadcast from a client of the first node to the clients of all.

    Args:
        url: Of Redis; empty for a single node without a backplane.
        number: How many nodes.
        seconds: Length of the measurement.
        clients: On each node, besides the one that sends.
        window: Messages on their way at a time.

    Returns:
        Messages per second, deliveries per second, and each node's CPU seconds per message.
    """
    with nodes(url, number) as started:
        speaker = connect(started[0].port)
        crowd = [connect(node.port) for node in started for _ in range(clients)]
        heard = dict.fromkeys([speaker, *crowd], 0)
        size = SIZE + 2
        for client in heard:
            client.sock.setblocking(False)
        last = crowd[-1]  # on the last node: what it hears has gone all the way
        sent = 0
        cpu = [node.cpu() for node in started]
        began = drained = time.perf_counter()
        while time.perf_counter() - began < seconds:
            while sent < heard[last] // size + window:
                _send(speaker, sent)
                sent += 1
            select.select([last.sock], (), (), 1)
            heard[last] += _received(last)
            if time.perf_counter() - drained > DRAIN_SECONDS:  # seldom, so that we take little CPU
                drained = time.perf_counter()
                for client in heard:
                    heard[client] += _received(client)
        took = time.perf_counter() - began
        messages = heard[last] / size
        cpu = [(node.cpu() - before) / messages for node, before in zip(started, cpu)]
        for client in heard:
            client.close()
        return messages / took, sum(heard.values()) / size / took, cpu


def _received(client: RawClient) -> int:
    try:
        return len(client.sock.recv(1 << 18))
    except BlockingIOError:
        return 0


def _send(client: RawClient, number: int) -> None:
    client.sock.setblocking(True)
    client.send(f"{number:0{SIZE}}")
    client.sock.setblocking(False)


def draw(rows: list[tuple[int, float, float, float]], clients: int, path: str) -> None:
    pyplot.rcParams.update({"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "scale"})
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), width_ratios=(3, 2))
    places = range(len(rows))
    measured = [row[2] / 1000 for row in rows]
    computed = [row[0] / row[3] / 1000 for row in rows]
    label = f"measured, on {os.cpu_count()} cores for all"
    own = "computed from the CPU used: a core for each node"
    for shift, values, color, name in (
        (-0.2, measured, "#3b6ea5", label),
        (0.2, computed, "#b8c9dc", own),
    ):
        bars = left.bar([place + shift for place in places], values, 0.4, color=color, label=name)
        left.bar_label(bars, fmt="%.0f", padding=2)
    left.set_title("Deliveries a second, thousands", fontsize=10)
    left.legend(frameon=False, loc="upper left")
    left.set_ylim(0, max(measured + computed) * 1.4)
    cost = [row[3] * 1e6 for row in rows]
    bars = right.bar(places, cost, 0.6, color="#3b6ea5")
    right.bar_label(bars, fmt="%.1f", padding=2)
    right.set_title("CPU of the nodes for a delivery, µs", fontsize=10)
    right.set_ylim(0, max(cost) * 1.15)
    for axes in (left, right):
        axes.set_xticks(places, ["1, no Redis", *(str(row[0]) for row in rows[1:])])
        axes.set_xlabel(f"Nodes, with {clients} clients each")
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.endswith("svg") else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", metavar="FILE", help="draw the throughput")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="messages, one at a time")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each throughput")
    parser.add_argument("--nodes", type=int, default=NODES, help="at most")
    parser.add_argument("--clients", type=int, default=CLIENTS, help="on each node")
    arguments = parser.parse_args()
    rounds, seconds, clients = arguments.rounds, arguments.seconds, arguments.clients
    with Redis("--appendonly", "no") as server:
        print("| A message, µs | median | 99 % |\n| :--- | ---: | ---: |")
        for name, cells in hop(server, rounds):
            print(f"| {name} | {cells} |", flush=True)
        print("\n| Three readers | median, µs | 99 %, µs | Redis, µs CPU/message |")
        print("| :--- | ---: | ---: | ---: |")
        for name, cells in kinds(server, rounds):
            print(f"| {name} | {cells} |", flush=True)
        print("\n| Nodes | messages/s | deliveries/s | nodes, µs CPU/delivery |")
        print("| ---: | ---: | ---: | ---: |")
        rows = []
        for number in range(arguments.nodes + 1):
            url = server.url if number else ""
            messages, deliveries, cpu = throughput(url, max(number, 1), seconds, clients)
            row = (max(number, 1), messages, deliveries, sum(cpu) * messages / deliveries)
            rows.append(row)
            name = str(number) if number else "1, without Redis"
            print(f"| {name} | {row[1]:,.0f} | {row[2]:,.0f} | {row[3] * 1e6:.1f} |", flush=True)
        messages, _, (sender, receiver) = throughput(server.url, 2, seconds, 1, 500)
        print(
            f"\nOne client on each of two nodes: {messages:,.0f} messages/s; CPU for a message:",
            end="",
        )
        print(f" {sender * 1e6:.0f} µs where it is sent, {receiver * 1e6:.0f} µs where it arrives")
    if arguments.picture:
        draw(rows, clients, arguments.picture)


if __name__ == "__main__":
    main()

"""Several servers in one process and in several processes: docs/scale.md.

`python -m bench.scale.leaders python3.13 python3.13t` prints the CPU time of a message on each of
these interpreters. It needs a C compiler, and the packages redis, psutil and trustme.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import redis

from bench.cells import BY_NAME, Cell
from bench.load import Load
from bench.programs import Running
from tests.cluster.programs import Redis
from tests.support.processes import Program
from tests.support.waiting import eventually

SERVERS = """
import sys, threading
from ws import WSServer
from ws.redis import RedisBackplane
port, number, mode, url = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
servers = []
def broadcast(client, message):
    for server in servers:
        server.sendall(message)
for _ in range(number):
    options = {"backplane": RedisBackplane(url)} if url else {}
    options.update(reuse_port=True, max_clients_per_address=10_000)
    server = WSServer("127.0.0.1", port, **options)
    server.onmessage(server.send if mode == "echo" else broadcast)
    server.start()
    port = server.port
    servers.append(server)
print(port, flush=True)
threading.Event().wait()
"""
WAYS = {
    "one server": (1, 1),
    "two servers in one process": (1, 2),
    "two processes": (2, 1),
}
"""The number of processes, and of servers in each; all share a port."""
CELLS = ("echo-16x1-32", "pipelined-16x64-32", "broadcast-100x16-64")
ROUNDS = 9
SECONDS = 1.0


class Servers(Program):
    def __init__(self, python: str, port: int, number: int, mode: str, url: str) -> None:
        packages = str(Path(redis.__file__).parents[1])  # it is the same for all Pythons
        arguments = (str(port), str(number), mode, url)
        super().__init__([python, "-c", SERVERS, *arguments], env={"PYTHONPATH": packages})
        eventually(lambda: self.output().endswith("\n"), what="a server doesn't start")
        self.port = int(self.output())


def measure(cell: Cell, pythons: list[str], load: Load, backplane: Redis) -> None:
    """Print a row for each interpreter and way."""
    with contextlib.ExitStack() as stack:
        costs: dict[tuple[str, str], list[float]] = {}
        programs: dict[tuple[str, str], tuple[int, list[Program]]] = {}
        for python in pythons:
            for way, (processes, servers) in WAYS.items():
                shared = processes > 1 and cell.mode == "broadcast"
                port, started = 0, list[Program]([backplane] if shared else [])
                url = backplane.url if shared else ""
                for _ in range(processes):
                    new = Servers(python, port, servers, cell.mode, url)
                    port = stack.enter_context(new).port
                    started.append(new)
                costs[python, way], programs[python, way] = [], (port, started)
        for _ in range(cell.rounds):
            for name, (port, started) in programs.items():
                before = sum(program.cpu() for program in started)
                result = load.run(cell, Running(port))
                time.sleep(0.2)  # until the last have been let go
                used = sum(program.cpu() for program in started) - before
                costs[name].append(1e6 * used / result["groups"][0]["messages"])
    for (python, way), each in costs.items():
        row = (cell.title, Path(python).name, way, f"{statistics.median(each):.2f}")
        print("|", " | ".join(row), "|", f"{min(each):.2f}–{max(each):.2f}", "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pythons", nargs="+", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each round")
    arguments = parser.parse_args()
    print("| | Python | | µs CPU, median | range |\n| :--- | :--- | :--- | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder, Redis("--appendonly", "no") as backplane:
        load = Load(folder)
        for name in CELLS:
            cell = replace(
                BY_NAME[name], warm_up=0.0, rounds=arguments.rounds, seconds=arguments.seconds
            )
            measure(cell, arguments.pythons, load, backplane)


if __name__ == "__main__":
    main()

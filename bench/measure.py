"""Runs cells: starts the programs, has them work, and collects the figures."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Iterable

from bench.cells import Cell
from bench.load import Load, LoadError
from bench.peers import PEERS
from bench.programs import Client, Server, command
from bench.results import Results, summary
from tests.support.processes import StartError

FLOOR = "floor"
"""The trivial server; where clients are measured, the load generator in their place. Its rate is
the highest that can be shown."""
SETTLE_SECONDS = 1.0
"""Time for threads without work to end, before memory is measured."""

Round = dict[str, float]


@dataclass(frozen=True)
class Run:
    """One run of the benchmark."""

    load: Load
    certificate: tuple[str, str]
    peers: frozenset[str]
    """Their names."""
    step: Callable[[str], None]
    """Called before each measurement, with its description."""

    def names(self, cell: Cell) -> list[str]:
        """Return the peers that take part in a cell."""
        return [name for name, peer in PEERS.items() if name in self.peers and cell.takes(peer)]

    def steps(self, cells: Iterable[Cell]) -> int:
        """Return the number of measurements, as ``step`` counts them."""
        return sum(cell.rounds * len(self.names(cell)) for cell in cells)

    def cell(self, cell: Cell) -> Results:
        """Measure a cell, and return the summary of each peer's rounds."""
        measures = {
            "server": {"hold": self._memory, "idle": self._idle}.get(cell.load, self._rounds),
            "client": self._client_memory if cell.load == "hold" else self._client_rounds,
        }
        rounds, errors = measures[cell.side](cell)
        peers = {name: summary(each) for name, each in rounds.items() if each}
        floor = peers.pop(FLOOR, None)
        results: Results = {"peers": peers, "errors": errors}
        if floor:
            results["ceiling"] = floor["rate"].high
        return results

    def _rounds(self, cell: Cell) -> tuple[dict[str, list[Round]], dict[str, str]]:
        """Measure in turns, so that a disturbance of the machine affects all peers alike."""
        rounds: dict[str, list[Round]] = {name: [] for name in self.names(cell)}
        errors: dict[str, str] = {}
        with ExitStack() as stack:
            servers = self._start(cell, rounds, errors, stack)
            floor = stack.enter_context(self.load.floor())
            for _ in range(cell.rounds):
                if cell.load in ("echo", "broadcast") and cell.mode != "verbs":
                    with suppress(LoadError):  # a busy machine may not even take the connections
                        result = self.load.run(replace(cell, load="raw", tls=False), floor)
                        rounds.setdefault(FLOOR, []).append(figures(cell, result))
                for name in self.names(cell):
                    self.step(f"{cell.name} {name}")
                    if name in errors:
                        continue
                    try:
                        servers[name].wait_until_idle()
                        rounds[name].append(figures(cell, self.load.run(cell, servers[name])))
                    except (LoadError, OSError) as error:
                        errors[name] = str(error)
        return rounds, errors

    def _start(
        self, cell: Cell, names: Iterable[str], errors: dict[str, str], stack: ExitStack
    ) -> dict[str, Server]:
        """Start servers; put into *errors* which don't start, and why."""
        servers: dict[str, Server] = {}
        for name in names:
            try:
                server = Server(command(cell, name, self.certificate))
            except StartError as error:
                errors[name] = str(error)
            else:
                servers[name] = stack.enter_context(server)
        return servers

    def _memory(self, cell: Cell) -> tuple[dict[str, list[Round]], dict[str, str]]:
        """Compare resident memory with one client and with all."""
        rounds: dict[str, list[Round]] = {}
        errors: dict[str, str] = {}
        for name in self.names(cell):
            self.step(f"{cell.name} {name}")
            try:
                with Server(command(cell, name, self.certificate)) as server:
                    with self.load.hold(replace(cell, clients=1), server):
                        before = server.kib
                    with self.load.hold(cell, server) as clients:
                        time.sleep(SETTLE_SECONDS)
                        kib = (server.kib - before) / max(clients, 1)
                        rounds[name] = [{"kib": kib, "threads": server.threads, "clients": clients}]
                        server.close()  # before its clients do, which would wake all its threads
                if clients < cell.clients:
                    errors[name] = f"took {clients} of {cell.clients} clients"
            except (LoadError, StartError, OSError) as error:
                errors[name] = str(error)
        return rounds, errors

    def _idle(self, cell: Cell) -> tuple[dict[str, list[Round]], dict[str, str]]:
        """Let all servers be idle at the same time, and measure their CPU time."""
        rounds: dict[str, list[Round]] = {}
        errors: dict[str, str] = {}
        with ExitStack() as stack:
            servers = self._start(cell, self.names(cell), errors, stack)
            for name, server in servers.items():
                self.step(f"{cell.name} {name}")
                try:
                    stack.enter_context(self.load.hold(cell, server))
                except (LoadError, OSError) as error:
                    errors[name] = str(error)
            time.sleep(SETTLE_SECONDS)
            since = time.monotonic()
            before = {name: servers[name].cpu() for name in servers if name not in errors}
            time.sleep(cell.seconds)
            for name, cpu in before.items():
                share = (servers[name].cpu() - cpu) / (time.monotonic() - since)
                rounds[name] = [{"percent": 100 * share}]
            for server in servers.values():
                server.close()  # before their clients do
        return rounds, errors

    def _client_rounds(self, cell: Cell) -> tuple[dict[str, list[Round]], dict[str, str]]:
        """Measure clients in turns, each time with fresh processes on both ends."""
        rounds: dict[str, list[Round]] = {name: [] for name in self.names(cell)}
        errors: dict[str, str] = {}
        for _ in range(cell.rounds):
            for name in self.names(cell):
                self.step(f"{cell.name} {name}")
                if name in errors:
                    continue
                try:
                    with ExitStack() as stack:
                        server = stack.enter_context(self.load.other_end(cell))
                        client = stack.enter_context(Client(name, cell, server.url))
                        rounds[name].append(figures(cell, server.measure(cell, client)))
                except (LoadError, StartError, OSError) as error:
                    errors[name] = str(error)
            if cell.load in ("echo", "stream"):
                with suppress(LoadError), self.load.other_end(cell) as server:
                    result = self.load.run(cell, server)
                    rounds.setdefault(FLOOR, []).append(figures(cell, result))
        return rounds, errors

    def _client_memory(self, cell: Cell) -> tuple[dict[str, list[Round]], dict[str, str]]:
        """Compare resident memory with one connection and with all."""
        rounds: dict[str, list[Round]] = {}
        errors: dict[str, str] = {}
        for name in self.names(cell):
            self.step(f"{cell.name} {name}")
            try:
                with ExitStack() as stack:
                    server = stack.enter_context(self.load.other_end(cell))
                    client = stack.enter_context(Client(name, cell, server.url))
                    client.hold(1)
                    before = client.kib
                    client.hold(cell.clients)
                    time.sleep(SETTLE_SECONDS)
                    kib = (client.kib - before) / (cell.clients - 1)
                    rounds[name] = [{"kib": kib, "threads": client.threads}]
            except (LoadError, StartError, OSError) as error:
                errors[name] = str(error)
        return rounds, errors


def figures(cell: Cell, result: dict[str, Any]) -> Round:
    """Return the figures of one run."""
    groups = result["groups"]
    done = result["cycles"] if cell.load == "connect" else groups[0]["messages"]
    seconds = result["seconds"]
    found = {
        "rate": done / seconds,
        "cpu_us": 1e6 * result["peer_cpu"] / max(done, 1),
        "peer_share": result["peer_cpu"] / seconds,
        "load_share": result["load_cpu"] / seconds,
    }
    for key in ("p50", "p99", "p999"):
        found[key] = groups[0][key]
        if cell.mode == "verbs":
            found[f"bystander_{key}"] = groups[1][key]
    return found


def about(load: Load, names: Iterable[str]) -> Results:
    """Return when and on which machine this is measured."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "node": node(),
        "load": load.title,
        "versions": {name: PEERS[name].version for name in names},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def node() -> str:
    """Return the version of Node.js, or an empty string."""
    try:
        return subprocess.run(
            ["node", "--version"], stdout=subprocess.PIPE, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""

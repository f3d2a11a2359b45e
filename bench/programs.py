"""The programs that are measured: servers, and clients."""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

import psutil

from bench.cells import Cell
from bench.peers import PEERS
from tests.support.certificates import Certificate, issue
from tests.support.processes import Program, ServerProgram, module

IDLE_PATIENCE_SECONDS = 5.0
IDLE_SECONDS = 0.03
"""A program is idle when it has used no CPU for this long."""


@dataclass(frozen=True)
class Running:
    """A server that somebody else has started."""

    port: int
    pid: int = 0
    """With 0, its CPU time isn't measured."""


class Measured(Program):
    """A process, and what it uses; on any system."""

    @property
    def kib(self) -> float:
        """Resident memory, in KiB."""
        return float(psutil.Process(self.pid).memory_info().rss / 1024)

    @property
    def threads(self) -> int:
        return int(psutil.Process(self.pid).num_threads())

    def cpu(self) -> float:
        """Return the seconds of CPU time used so far."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def wait_until_idle(self) -> None:
        """Wait until it has finished with what it was asked to do."""
        deadline = time.monotonic() + IDLE_PATIENCE_SECONDS
        before = -1.0
        while before != self.cpu() and time.monotonic() < deadline:
            before = self.cpu()
            time.sleep(IDLE_SECONDS)


class Server(ServerProgram, Measured):
    """A server's process."""

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


class Client(Measured):
    """A client's process, which connects to a server.

    Args:
        name: The peer's.
        cell: Says what it does.
        url: The server's.
    """

    def __init__(self, name: str, cell: Cell, url: str) -> None:
        arguments = [name, url, "--load", cell.load, "--size", cell.size]
        if cell.load == "stream":
            arguments += ["--replies", cell.in_flight]
        if cell.binary:
            arguments.append("--binary")
        super().__init__(module("bench.clients", *arguments), talks=cell.load == "hold")

    def hold(self, connections: int) -> int:
        """Have it keep so many connections; return how many it has, once all are answered.

        Raises:
            StartError: It has ended.
        """
        return int(json.loads(self.ask(str(connections)))["open"])


def command(
    cell: Cell, name: str, certificate: tuple[str, str], checkout: Path | None = None
) -> list[str]:
    """Return the command that starts a peer's server as a cell needs it.

    Args:
        cell: Tells its mode, and whether it has TLS and compression.
        name: The peer's.
        certificate: Paths of the certificate and its key.
        checkout: The folder to import the package ``ws`` from; None is this checkout.
    """
    arguments = ["0"]
    if checkout:
        arguments += ["--checkout", str(checkout)]
    if cell.mode != "echo":
        arguments.append(f"--{cell.mode}")
    if cell.compress:
        arguments.append("--compress")
    if cell.tls:
        arguments += ["--tls", *certificate]
    return PEERS[name].command(*arguments)


@contextmanager
def certificate() -> Iterator[Certificate]:
    """Make a certificate for this machine in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        yield issue(folder)

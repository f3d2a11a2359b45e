"""Server processes."""

from __future__ import annotations

import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Sequence

import psutil
import trustme

from bench import ROOT
from bench.cells import Cell
from bench.peers import PEERS

END_SECONDS = 5.0
IDLE_PATIENCE_SECONDS = 5.0
IDLE_SECONDS = 0.03
"""A server is idle when it has used no CPU for this long."""


@dataclass(frozen=True)
class Running:
    """A server that somebody else has started."""

    port: int
    pid: int = 0
    """With 0, its CPU time isn't measured."""


class Server:
    """A server process; it ends when its standard input does."""

    def __init__(self, command: Sequence[str], end_seconds: float = END_SECONDS) -> None:
        """Start a server.

        Args:
            command: Runs in the root of the repository.
            end_seconds: Within which it must end when told so; then it is killed.
        """
        pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
        self._command = " ".join(command)
        self._end_seconds = end_seconds
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=quiet, text=True
        )
        self._port = 0

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    @property
    def port(self) -> int:
        """The port; waits until the server has printed its URL."""
        if not self._port:
            assert self._process.stdout
            url = self._process.stdout.readline()
            if not url:
                raise OSError(f"didn't start: {self._command}")
            self._port = int(url.rstrip("/\n").rpartition(":")[2])
        return self._port

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def kib(self) -> float:
        """Resident memory, in KiB."""
        return float(psutil.Process(self.pid).memory_info().rss / 1024)

    @property
    def threads(self) -> int:
        return int(psutil.Process(self.pid).num_threads())

    @property
    def cpu(self) -> float:
        """CPU time used so far, in seconds."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def wait_until_idle(self) -> None:
        """Wait until it has finished with the clients of the last round."""
        deadline = time.monotonic() + IDLE_PATIENCE_SECONDS
        before = -1.0
        while before != self.cpu and time.monotonic() < deadline:
            before = self.cpu
            time.sleep(IDLE_SECONDS)

    def end(self) -> None:
        """Close its standard input, and wait until it has ended."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(self._end_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def command(
    cell: Cell, name: str, certificate: tuple[str, str], checkout: Path | None = None
) -> list[str]:
    """Return the command that starts a peer as a cell needs it.

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
def certificate() -> Iterator[tuple[str, str]]:
    """Make a certificate; yield the paths of the chain and of the key, as PEM files."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        issued = trustme.CA().issue_cert("localhost", "127.0.0.1")
        chain, key = Path(folder, "cert.pem"), Path(folder, "key.pem")
        chain.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        yield str(chain), str(key)

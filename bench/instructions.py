"""Instructions per message, counted by callgrind: ``python -m bench.instructions [CELL...]``.

The echo server runs under valgrind, once for some messages and once for twice as many; the
difference is what the messages cost. The kernel isn't counted, nor is what a cache or a branch
costs. How busy the machine is makes a difference of less than 1 % (2 % over TLS).
``--against CHECKOUT`` counts the server of another checkout, too.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import ssl
import sys
import tempfile
from contextlib import ExitStack
from fnmatch import fnmatch
from pathlib import Path

from bench import ROOT, against
from bench.cells import CELLS, OURS, Cell
from bench.load import LoadError
from bench.messages import batch
from bench.programs import Server, certificate, command
from tests.support.heads import request
from tests.support.processes import StartError

DEFAULT = "echo-16x1-32 pipelined-16x64-32 pipelined-16x8-1k large-4x4-64k tls-16x1-32".split()
MESSAGES = 2000
"""Of the shorter run, at least."""
PATIENCE_SECONDS = 60.0
"""For a reply, and for the server to start and to end: under valgrind, all is 50 times slower."""
RECEIVE_SIZE = 1 << 18
SLOW_CLOCK = """
import runpy, sys, time
for name in ("monotonic", "thread_time", "process_time"):
    setattr(time, name, lambda real=getattr(time, name): real() / 50)
time.sleep = lambda seconds, real=time.sleep: real(50 * seconds)
sys.setswitchinterval(50 * sys.getswitchinterval())
runpy.run_module("bench.peers", run_name="__main__", alter_sys=True)
"""
"""Runs a server with a clock as slow as it is itself, or it would take itself for overloaded."""


def main() -> int:
    """Print a line for each cell; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.instructions", description="Instructions per message."
    )
    parser.add_argument("cells", nargs="*", default=DEFAULT, metavar="CELL")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT")
    parser.add_argument("--messages", type=int, default=MESSAGES)
    arguments = parser.parse_args()
    if not shutil.which("valgrind"):
        print("instructions: needs valgrind (on Debian: apt-get install valgrind)", file=sys.stderr)
        return 2
    cells = [cell for cell in CELLS if any(fnmatch(cell.name, one) for one in arguments.cells)]
    cells = [cell for cell in cells if against.compares(cell) and cell.load != "connect"]
    cells = [cell for cell in cells if not cell.compress]
    if not cells:
        parser.error("no such cell, or one that doesn't send the same bytes each time")
    os.environ["PYTHONHASHSEED"] = "0"  # the same dictionaries in each run
    checkouts = [ROOT, *([arguments.against.resolve()] if arguments.against else [])]
    print("| Instructions per message | here |" + " there | here/there |" * bool(checkouts[1:]))
    print("| :--- | ---: |" + " ---: | ---: |" * bool(checkouts[1:]))
    for cell in cells:
        counts = [instructions(cell, arguments.messages, checkout) for checkout in checkouts]
        ratio = [f"{counts[0] / counts[1]:.3f}"] if len(counts) > 1 else []
        print("|", " | ".join([cell.name, *(f"{count:,.0f}" for count in counts), *ratio]), "|")
    return 0


def instructions(cell: Cell, messages: int, checkout: Path) -> float:
    """Return how many a message takes."""
    turns = -(-messages // (cell.clients * cell.in_flight))
    if cell.load == "broadcast":
        turns = -(-messages // cell.in_flight)
    few, many = (_collected(cell, count, checkout) for count in (turns, 2 * turns))
    return (many - few) / turns / cell.in_flight / (1 if cell.load == "broadcast" else cell.clients)


def _collected(cell: Cell, turns: int, checkout: Path) -> int:
    """Return how many a server takes in all its life."""
    with tempfile.TemporaryDirectory() as folder, certificate() as paths:
        log = Path(folder, "log")
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={os.devnull}"]
        python, _, _, *arguments = command(cell, OURS, paths, checkout)
        program = [python, "-c", SLOW_CLOCK, *arguments, "--no-ping"]
        valgrind = [*tool, f"--log-file={log}", *program]
        with Server(valgrind, patience_seconds=PATIENCE_SECONDS) as server:
            talk(cell, server.port, turns)
            server.end()
        found = re.search(r"Collected : (\d+)", log.read_text())
        if not found:
            raise LoadError(f"callgrind has counted nothing:\n{log.read_text()}")
        return int(found[1])


def talk(cell: Cell, port: int, turns: int) -> None:
    """Let each client write its batch, and again when all replies have come, ``turns`` times."""
    messages = batch(cell.size, cell.in_flight, binary=cell.binary)
    replied = len(messages) - 4 * cell.in_flight  # replies have no masking keys
    with ExitStack() as stack:
        clients = [stack.enter_context(_connect(port, cell.tls)) for _ in range(cell.clients)]
        writers = clients[:1] if cell.load == "broadcast" else clients
        for _ in range(turns):
            for client in writers:
                client.sendall(messages)
            for client in clients:
                _read(client, replied)


def _connect(port: int, tls: bool) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls:
        client = ssl._create_unverified_context().wrap_socket(client)
    client.sendall(request())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += _receive(client, RECEIVE_SIZE)
    if not answer.startswith(b"HTTP/1.1 101"):
        raise LoadError(f"no 101: {answer[:100]!r}")
    return client


def _read(client: socket.socket, size: int) -> None:
    while size:
        size -= len(_receive(client, min(size, RECEIVE_SIZE)))


def _receive(client: socket.socket, size: int) -> bytes:
    data = client.recv(size)
    if not data:
        raise LoadError("the server has cut a connection")
    return data


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (LoadError, StartError, OSError) as error:
        sys.exit(f"instructions: {error}")

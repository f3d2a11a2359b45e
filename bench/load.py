"""The other end: load.c for servers and echo.c for clients, compiled on the spot.

Where there is no compiler, fallback.py puts load on servers. Clients aren't measured there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Iterator

from bench import ROOT
from bench.cells import Cell
from bench.messages import BATCHES, batch, letters
from bench.programs import Client, Running, Server
from tests.support.frames import TEXT, frame
from tests.support.processes import StartError

PATIENCE_SECONDS = 45.0
"""Allowed in addition to the measured time, mainly for connecting."""
BLOCKING = b"sleep:0.2"
"""A message that blocks for as many seconds."""
BYSTANDER_SIZE = 32
"""Bytes of a message of the one client that doesn't block."""


class LoadError(Exception):
    """The load generator failed."""


class Load:
    """Runs the load generator."""

    def __init__(self, folder: str, python: bool = False) -> None:
        """Compile the programs into a folder.

        Args:
            folder: Where they go.
            python: Use fallback.py even if there is a compiler.
        """
        self.command = [sys.executable, "-m", "bench.fallback"]
        self.echo: list[str] = []
        """The command of the server for clients; empty if there is none."""
        self.title = "Python (no C compiler)"
        compiler = shutil.which(os.environ.get("CC", "cc"))
        if compiler and sys.platform == "linux" and not python:
            for name in ("load", "echo"):
                source, program = (
                    str(Path(__file__).with_name(f"{name}.c")),
                    str(Path(folder, name)),
                )
                subprocess.run([compiler, "-O2", "-o", program, source, "-ldl"], check=True)
            self.command, self.echo = [str(Path(folder, "load"))], [str(Path(folder, "echo"))]
            self.title = "C"

    def floor(self) -> Server:
        """Start the trivial server, which sends back the bytes that it receives."""
        return Server([*(self.echo or self.command), "floor"])

    def other_end(self, cell: Cell) -> OtherEnd:
        """Start the server that a cell's clients connect to."""
        if not self.echo:
            raise LoadError("needs a C compiler, on Linux")
        mode = {"hold": "echo"}.get(cell.load, cell.load)
        numbers = [str(cell.in_flight), str(cell.size)] if mode == "stream" else []
        return OtherEnd([*self.echo, mode, *numbers], talks=True)

    def run(self, cell: Cell, server: Server | Running) -> dict[str, Any]:
        """Put a cell's load on a server, and return the load generator's report."""
        arguments, batches = self._arguments(cell, server)
        limit = PATIENCE_SECONDS + cell.warm_up + cell.seconds
        try:
            done = subprocess.run(
                arguments,
                cwd=ROOT,
                input=batches,
                stdout=subprocess.PIPE,
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LoadError(f"not done in {limit:.0f} s") from None
        return _result(done.stdout)

    @contextmanager
    def hold(self, cell: Cell, server: Server | Running) -> Iterator[int]:
        """Keep a cell's clients connected; yield their number."""
        arguments, batches = self._arguments(replace(cell, load="hold"), server)
        process = subprocess.Popen(
            arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(batches)
            process.stdin.flush()
            yield int(_result(process.stdout.readline())["open"])
        finally:
            process.stdin.close()
            process.stdout.close()
            process.wait(PATIENCE_SECONDS)

    def _arguments(self, cell: Cell, server: Server | Running) -> tuple[list[str], bytes]:
        count = 1 if cell.load == "stream" else cell.in_flight
        different = BATCHES if cell.compress and cell.load == "echo" else 1
        batches = [
            batch(cell.size, count, binary=cell.binary, compress=cell.compress, seed=seed)
            for seed in range(different)
        ]
        sizes = (str(len(each)) for each in batches)
        groups = [",".join((str(cell.clients), str(cell.in_flight), *sizes))]
        if cell.mode == "verbs":
            messages = (BLOCKING, letters(BYSTANDER_SIZE))
            batches = [frame(TEXT, message, key=bytes(4)) for message in messages]
            groups = [f"{cell.clients},1,{len(batches[0])}", f"1,1,{len(batches[1])}"]
        if cell.deaf and cell.load == "broadcast":
            groups.append("1,1,0")
        numbers = (server.port, server.pid, cell.warm_up, cell.seconds, cell.tls, cell.compress)
        load = {"stream": "echo"}.get(cell.load, cell.load)  # with more replies than messages
        arguments = [*self.command, load, *(str(+number) for number in numbers), *groups]
        return arguments, b"".join(batches)


class OtherEnd(Server):
    """The server that clients are measured against: echo.c."""

    def measure(self, cell: Cell, client: Client) -> dict[str, Any]:
        """Return what the client does in a cell's time.

        Raises:
            LoadError: The client does nothing, or ends.
        """
        try:
            return _result(self.ask(f"{client.pid} {cell.warm_up} {cell.seconds}").encode())
        except (LoadError, StartError) as error:
            raise LoadError(f"{error}; {client.last_words()}") from None


def _result(line: bytes) -> dict[str, Any]:
    if not line.strip():
        raise LoadError("the load generator died")
    result: dict[str, Any] = json.loads(line)
    if "error" in result:
        raise LoadError(result["error"])
    return result

"""The load generator: load.c, compiled on the spot, or fallback.py where there is no compiler."""

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
from bench.servers import Running, Server
from tests.support.frames import TEXT, frame

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
        """Compile load.c into a folder.

        Args:
            folder: Where the program goes.
            python: Use fallback.py even if there is a compiler.
        """
        self.command = [sys.executable, "-m", "bench.fallback"]
        self.title = "Python (no C compiler)"
        compiler = shutil.which(os.environ.get("CC", "cc"))
        if compiler and sys.platform == "linux" and not python:
            source, program = str(Path(__file__).with_suffix(".c")), str(Path(folder, "load"))
            subprocess.run([compiler, "-O2", "-o", program, source, "-ldl"], check=True)
            self.command = [program]
            self.title = "C"

    def floor(self) -> Server:
        """Start the trivial server, which sends back the bytes that it receives."""
        return Server([*self.command, "floor"])

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
        different = BATCHES if cell.compress and cell.load == "echo" else 1
        batches = [
            batch(cell.size, cell.in_flight, binary=cell.binary, compress=cell.compress, seed=seed)
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
        arguments = [*self.command, cell.load, *(str(+number) for number in numbers), *groups]
        return arguments, b"".join(batches)


def _result(line: bytes) -> dict[str, Any]:
    if not line.strip():
        raise LoadError("the load generator died")
    result: dict[str, Any] = json.loads(line)
    if "error" in result:
        raise LoadError(result["error"])
    return result

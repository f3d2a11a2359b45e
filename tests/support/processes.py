"""Programs that tests start, each a process of its own."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Mapping, Sequence, TypeVar

from tests.support import ROOT
from tests.support.waiting import DEADLINE

START_SECONDS = 30.0
"""How long a program may take until it serves, and to end."""
POLL_SECONDS = 0.005
PORT = "{port}"
"""A placeholder in a server's command: 0 at first; at later starts, the port that it had."""
URL = re.compile(r"\b(https?|wss?)://(?:[\w.\-]+|\[[\w:]+\]):(\d+)")
SMALL_HEAP = {
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_ARENA_MAX": "1",
}
"""Environment in which glibc returns freed memory at once: what is resident is what is in use."""

AnyProgram = TypeVar("AnyProgram", bound="Program")


class StartError(Exception):
    """A program ended, or did nothing, instead of serving."""


def popen(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a program that Ctrl-C ends, even if the tests run where SIGINT is ignored."""
    if os.name == "posix":
        options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, **{**pipes, **options})


def module(name: str, *arguments: object) -> list[str]:
    """Return the command that runs a module with this Python."""
    return [sys.executable, "-m", name, *map(str, arguments)]


def free_port() -> int:
    """Return a port that nobody listens on, for programs that can't say which one they took.

    Systems choose from above 32768 for a connection's own end. The ports here are lower, so that
    no connection takes one meanwhile, an attempt to reach the program itself included.
    """
    while True:
        port = random.randrange(20_000, 32_768)
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


def listens(port: int) -> bool:
    """Say whether somebody listens on this port."""
    try:
        socket.create_connection(("127.0.0.1", port), DEADLINE).close()
    except OSError:
        return False
    return True


class Program:
    """A process with a log for what it prints, killed at the end of a `with` block.

    Its standard input is a pipe, which ends when this process does, however that comes about.

    Args:
        command: The program and its arguments.
        log: The file to which its output is added; a temporary one by default.
        env: Variables for its environment, in addition to ours.
        talks: Whether its standard output is a pipe, for `read_line`, and not in the log.
        patience_seconds: How long it may take until it serves, and to end.
    """

    process: subprocess.Popen[str]

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path | None = None,
        env: Mapping[str, str] | None = None,
        talks: bool = False,
        patience_seconds: float = START_SECONDS,
    ) -> None:
        self.command = list(command)
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        self._temporary = log is None
        if log is None:
            descriptor, name = tempfile.mkstemp(prefix="program-", suffix=".log")
            os.close(descriptor)
            log = Path(name)
        log.touch()
        self.log = log
        self._talks = talks
        self._patience_seconds = patience_seconds
        self.start()

    def start(self) -> None:
        """Start it, or start it again."""
        with self.log.open("ab") as log:
            self.process = popen(
                self.command,
                cwd=str(ROOT),
                env=self._env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if self._talks else log,
                stderr=log,
                universal_newlines=True,
                start_new_session=True,  # Ctrl-C is for us
            )

    def output(self) -> str:
        """Return its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def last_words(self) -> str:
        """Return the last line of its log that says something."""
        lines = [line for line in self.output().splitlines() if line.strip("-= ")]
        return lines[-1] if lines else "it said nothing"

    def ask(self, line: str) -> str:
        """Send it a line, and return the line that it answers."""
        self.tell(line)
        return self.read_line()

    def tell(self, line: str) -> None:
        """Send it a line."""
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def read_line(self) -> str:
        """Return the next line that it prints."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise StartError(f"{self} ended: {self.last_words()}")
        return line

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    @property
    def runs(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def cpu(self) -> float:
        """Return the seconds of CPU time used so far; for Linux."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def usage(self) -> tuple[float, int, int]:
        """Return MiB of resident memory, threads and descriptors; for Linux."""
        proc = f"/proc/{self.pid}"
        pages = int(Path(proc, "statm").read_text().split()[1])
        memory = pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
        return memory, len(os.listdir(f"{proc}/task")), len(os.listdir(f"{proc}/fd"))

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()
        self._wait()

    def terminate(self) -> int:
        """End it by SIGTERM, unless it has ended; return the exit code."""
        if self.runs:
            self.process.terminate()
        return self._wait()

    def end(self) -> int:
        """End its input, upon which it should end; return the exit code."""
        assert self.process.stdin
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        return self._wait()

    def _wait(self) -> int:
        try:
            return self.process.wait(self._patience_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe:
                    with suppress(BrokenPipeError):
                        pipe.close()

    def close(self) -> None:
        """Kill it if it runs, and remove a temporary log."""
        if self.runs:
            self.kill()
        if self._temporary:
            with suppress(FileNotFoundError):
                self.log.unlink()

    def __enter__(self: AnyProgram) -> AnyProgram:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __str__(self) -> str:
        return f"`{' '.join(self.command[1:] if '-m' in self.command else self.command)}`"


class ServerProgram(Program):
    """A program that prints its URL once it serves; started again, it has the same port.

    Args:
        command: The program and its arguments, `PORT` among them if it takes one.
        options: Those of `Program`.

    Raises:
        StartError: It doesn't serve, with the last line of its log.
    """

    port = 0
    """The port in the URL."""
    scheme = ""
    """What the URL begins with."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        self._template = list(command)
        super().__init__(command, **options)

    @property
    def secure(self) -> bool:
        """Whether it serves with TLS."""
        return self.scheme in ("https", "wss")

    def start(self) -> None:
        """Start it, or start it again; wait until it serves."""
        self.command = [part.replace(PORT, str(self.port)) for part in self._template]
        said = len(self.output())
        super().start()
        deadline = time.monotonic() + self._patience_seconds
        while True:
            runs = self.runs  # asked first, so that its last words are complete if it has ended
            found = URL.search(self.output()[said:].rpartition("\n")[0])
            if found:
                break
            if not runs or time.monotonic() > deadline:
                words = self.last_words()
                self.close()
                raise StartError(f"{self} doesn't start: {words}")
            time.sleep(POLL_SECONDS)
        self.scheme, self.port = found.group(1), int(found.group(2))

"""A client under test: a process that connects to the suite's fuzzing server for each case."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from conformance.suite import Job
from conformance.testees import Testee
from tests.support.certificates import issue
from tests.support.processes import Program, free_port, listens, module

POLL_SECONDS = 0.05
CASE_START_SECONDS = 120.0
"""How long the fuzzing server may take until it listens: a container on a busy machine."""


class Client:
    """A Python program that takes a URL, an agent's name and the ids of cases as arguments.

    It connects to the fuzzing server for each case, and at last for the report; then it ends.

    Args:
        testee: The program.
        cases: The cases to run.
        folder: The shard's, for the certificate and the log.

    Attributes:
        spec: What is special in the suite's specification.
    """

    def __init__(self, testee: Testee, cases: list[str], folder: Path) -> None:
        self._port = free_port()
        url = f"{testee.scheme}://127.0.0.1:{self._port}"
        self.spec: dict[str, Any] = {"url": url}
        if testee.scheme == "wss":
            issue(folder)
            self.spec.update(key="key.pem", cert="cert.pem")
        self._command = module(*testee.command.split(), url, testee.name, *cases)
        self._log = folder.parent / "client.log"
        self._program: Program | None = None
        self._code: int | None = None

    def start(self, job: Job) -> None:
        """Start the program once the fuzzing server listens; when it ends, so does the server."""
        threading.Thread(target=self._run, args=(job,), daemon=True).start()

    def _run(self, job: Job) -> None:
        try:
            deadline = time.monotonic() + CASE_START_SECONDS
            while not listens(self._port) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            self._program = Program(self._command, log=self._log)
            self._code = self._program.process.wait()
        finally:
            job.kill()

    def stop(self) -> None:
        """Kill the program if it runs."""
        if self._program is not None:
            if self._program.runs:
                self._program.kill()
            self._program.close()

    def fault(self) -> str:
        """Return why it hasn't run all cases, or nothing."""
        if self._program is None:
            return "the fuzzing server didn't listen"
        if self._code:
            return f"the client ended with exit code {self._code}: {self._program.last_words()}"
        return ""

    def complaint(self) -> str:
        """Return what is wrong with its log, or nothing."""
        if self._program is None or "Traceback" not in self._program.output():
            return ""
        return f"the client logged an exception: {self._program.last_words()}"

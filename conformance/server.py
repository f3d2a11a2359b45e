"""A testee's process: started, asked whether it is well, and ended."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Callable

from tests.support.certificates import unverified_context
from tests.support.frames import close_frame
from tests.support.heads import request
from tests.support.processes import ServerProgram, StartError, module
from tests.support.rawclient import RawClient


class HarnessError(Exception):
    """The run can't go on: one sentence with what to do."""


class Server(ServerProgram):
    """A Python program that prints its URL once it serves, and ends when its input does.

    Args:
        command: The module and its arguments, as after `python -m`.
        log: The file to which its output is added.
    """

    def __init__(self, command: str, log: Path) -> None:
        try:
            super().__init__(module(*command.split()), log=log)
        except StartError as error:
            raise HarnessError(str(error)) from None

    def url(self, host: str) -> str:
        """Return its URL on a machine that calls this one *host*."""
        return f"{self.scheme}://{host}:{self.port}"

    def fault(self) -> str:
        """Return why it can't go on, or nothing: it must live, and accept a WebSocket."""
        if not self.runs:
            code = self.process.returncode
            return f"the server died, exit code {code}: {self.last_words()}"
        context = unverified_context() if self.secure else None
        try:
            with RawClient(self.port, request(), context=context) as client:
                if client.status != 101:
                    return f"the server answers a handshake with {client.status}"
                client.send_frames(close_frame())
                client.recv()
        except (OSError, EOFError, ValueError) as error:
            return f"the server no longer answers: {error}"
        return ""

    def stop(self) -> str:
        """End it; return what is wrong with that or with its log, or nothing."""
        fault = ""
        try:
            code = self.end()
            if code:
                fault = f"the server ended with exit code {code}"
        except subprocess.TimeoutExpired as error:
            fault = f"the server didn't end within {error.timeout:g} s"
        if "Traceback" in self.output():
            fault = fault or f"the server logged an exception: {self.last_words()}"
        return fault


Serve = Callable[[str], Server]
"""Gives the echo server that has these options."""

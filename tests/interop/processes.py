"""Foreign programs as processes, and what they say."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

from tests.interop.commands import command
from tests.support import ROOT
from tests.support.processes import Program, StartError, free_port, listens
from tests.support.waiting import DEADLINE, eventually


class Peer(Program):
    """A foreign program. Its lines of JSON are read by a thread, so that waiting has a deadline.

    Args:
        row: Which one.
        arguments: What it is started with.
        ca: The certificate to trust, which most take from the environment.
    """

    def __init__(self, row, arguments, ca):
        self.row, self.ca = row, ca
        self.idle = True  # it has no connection whose end it hasn't said
        trust = dict.fromkeys(("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "DENO_CERT"), ca)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = {**trust, "PATH": path, "PYTHONPATH": str(ROOT), "TMPDIR": str(Path(ca).parent)}
        super().__init__([*command(row), *arguments], env=env, talks=True)

    def start(self):
        super().start()
        self.idle = True
        self.said = queue.Queue()
        reader = threading.Thread(target=self._read, args=(self.process.stdout, self.said))
        reader.start()

    def kill(self):
        """End it, and what it has started, by SIGKILL."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # each program leads a group of its own
        super().kill()

    @staticmethod
    def _read(pipe, said):
        with suppress(ValueError):  # the pipe was closed meanwhile
            for line in pipe:
                if line.startswith("{"):
                    said.put(json.loads(line))
        said.put(None)

    def hear(self, key, seconds=DEADLINE):
        """Return the next thing it says that has this key."""
        while True:
            try:
                said = self.said.get(timeout=seconds)
            except queue.Empty:
                raise AssertionError(f"{self} doesn't say {key!r}: {self.last_words()}") from None
            if said is None:
                raise StartError(f"{self} ended: {self.last_words()}")
            if key in said:
                return said

    def closed(self, seconds=DEADLINE):
        """Wait for the end of its connection; return the code and the reason that it saw."""
        said = self.hear("closed", seconds)
        self.idle = True
        return said["closed"], said["reason"]


class ForeignClient(Peer):
    """A program in clients/."""

    def __init__(self, row, ca):
        super().__init__(row, [ca], ca)

    def connect(self, url):
        """Let it connect. If it still had another connection, it is started anew."""
        if not self.idle or not self.runs:
            self.close()
            self.start()
        self.idle = False
        self.tell(url)


class ForeignServer(Peer):
    """A program in servers/, which listens; started again, it has the same port."""

    def __init__(self, row, certificate=None, *, ca):
        self.port = free_port()
        self.secure = certificate is not None
        super().__init__(row, [str(self.port), *(certificate or ())], ca)

    @property
    def url(self):
        return f"{'wss' if self.secure else 'ws'}://127.0.0.1:{self.port}/"

    def start(self):
        super().start()

        def serves():
            if not self.runs:
                raise StartError(f"{self} ended: {self.last_words()}")
            return listens(self.port)

        try:
            eventually(serves, self._patience_seconds, f"{self} doesn't listen")
        except BaseException:
            self.close()
            raise

"""The chat's server, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

ROOT = Path(__file__).parent.parent
SECONDS = 10
"""In which a server must serve, and later end."""


@dataclass(frozen=True)
class Way:
    """How a page comes to the browser and to its server."""

    file: bool = False
    tls: bool = False

    def __str__(self) -> str:
        return ("file" if self.file else "http") + ("-tls" if self.tls else "")

    def url(self, port: int, room: str = "") -> str:
        """Return the page's address, for the server or the link on `port`."""
        if self.file:
            page = (ROOT / "chat/page/index.html").as_uri()
            url = f"{page}?port={port}" + ("&tls=1" if self.tls else "")
        else:
            url = f"http{'s' * self.tls}://localhost:{port}/"
        return url + (f"#{quote(room)}" if room else "")


HTTP = Way()
WAYS = (HTTP, Way(tls=True), Way(file=True), Way(file=True, tls=True))


class Server:
    """`python -m chat ARGUMENT...`, which starts at once and can start again on the same port."""

    def __init__(self, log: Path, way: Way, *arguments: str) -> None:
        self.log = log
        self.way = way
        self._arguments = arguments
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start, and wait until it serves."""
        command = (sys.executable, "-m", "chat", str(self.port), "--host", "localhost")
        with self.log.open("a") as stderr:
            self._process = subprocess.Popen(
                [*command, *self._arguments],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,  # Ctrl-C is for us
            )
        assert self._process.stdout
        impatience = threading.Timer(SECONDS, self._process.kill)
        impatience.start()
        line = self._process.stdout.readline()
        impatience.cancel()
        urls = [word for word in line.split() if word.startswith("http")]
        if not urls:
            self.kill()
            raise RuntimeError(f"the chat doesn't start: {self.log.read_text()}")
        self.port = urlsplit(urls[0]).port or 0

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait(SECONDS)
        assert self._process.stdout
        self._process.stdout.close()

    def stop(self) -> None:
        """SIGTERM, to which it must answer in time, and without a complaint."""
        self._process.terminate()
        code = self._process.wait(SECONDS)
        assert self._process.stdout
        self._process.stdout.close()
        assert code == 0, f"the chat ended with {code}: {self.log.read_text()}"

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

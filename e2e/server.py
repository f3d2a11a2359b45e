"""The chat's server in a process of its own, and a proxy before it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tests.support import ROOT
from tests.support.processes import PORT, ServerProgram, module
from tests.support.tcpproxy import TCPProxy


@dataclass(frozen=True)
class Way:
    """How a page comes to the browser and to its server."""

    file: bool = False
    tls: bool = False

    def __str__(self) -> str:
        return ("file" if self.file else "http") + ("-tls" if self.tls else "")

    def url(self, port: int, room: str = "") -> str:
        """Return the page's address, for the server or the proxy on `port`."""
        if self.file:
            page = (ROOT / "chat/page/index.html").as_uri()
            url = f"{page}?port={port}" + ("&tls=1" if self.tls else "")
        else:
            url = f"http{'s' * self.tls}://localhost:{port}/"
        return url + (f"#{quote(room)}" if room else "")


HTTP = Way()
WAYS = (HTTP, Way(tls=True), Way(file=True), Way(file=True, tls=True))


class Server(ServerProgram):
    """`python -m chat ARGUMENT...`, which starts at once and can start again on the same port."""

    def __init__(self, log: Path, way: Way, *arguments: str) -> None:
        self.way = way
        super().__init__(module("chat", PORT, "--host", "localhost", *arguments), log=log)

    def stop(self) -> None:
        """End it by SIGTERM; it must end in time, with exit code 0."""
        code = self.terminate()
        assert code == 0, f"the chat ended with {code}: {self.output()}"


class Proxy(TCPProxy):
    """A proxy between pages and their server; a page visits it as it would the server."""

    def __init__(self, server: Server) -> None:
        self.way = server.way
        super().__init__(server.port)

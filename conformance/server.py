"""A testee's process: started, asked whether it is well, and ended."""

from __future__ import annotations

import http.client
import ssl
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parent.parent
PATIENCE_SECONDS = 15
"""In which a server must serve, answer and end."""
HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
CLOSE = b"\x88\x82\0\0\0\0\x03\xe8"
"""A close frame with code 1000."""


class HarnessError(Exception):
    """The run can't go on: one sentence with what to do."""


class Server:
    """A Python program that prints its URL once it serves, and ends when its input does."""

    def __init__(self, command: str, log: Path) -> None:
        """Start ``python -m command``; what it logs goes behind what is in *log* already."""
        self.log = log
        with log.open("a") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command.split()],
                cwd=ROOT,
                stdin=subprocess.PIPE,  # it ends when we do, however that comes about
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,  # Ctrl-C is for us
            )
        assert self.process.stdout
        url = self.process.stdout.readline()
        if not url:
            self.process.wait()
            raise HarnessError(f"`python -m {command}` doesn't start: {self._last_words()}")
        parts = urlsplit(url.strip())
        self.secure = parts.scheme == "wss"
        assert parts.port
        self.port = parts.port

    def url(self, host: str) -> str:
        """Return its URL on a machine that calls this one *host*."""
        return f"{'wss' if self.secure else 'ws'}://{host}:{self.port}"

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        words = [line for line in lines if line.strip("-= ")]
        return words[-1] if words else "it logged nothing"

    def fault(self) -> str:
        """Return why it can't go on, or nothing: it must live, and accept a WebSocket."""
        if self.process.poll() is not None:
            return f"the server died, exit code {self.process.returncode}: {self._last_words()}"
        if self.secure:
            context = ssl._create_unverified_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "127.0.0.1", self.port, timeout=PATIENCE_SECONDS, context=context
            )
        else:
            connection = http.client.HTTPConnection(
                "127.0.0.1", self.port, timeout=PATIENCE_SECONDS
            )
        try:
            connection.request("GET", "/", headers=HANDSHAKE)
            status = connection.getresponse().status
            if status == 101:
                connection.sock.sendall(CLOSE)
                connection.sock.recv(1024)
        except (OSError, http.client.HTTPException) as error:
            return f"the server no longer answers: {error}"
        finally:
            connection.close()
        return "" if status == 101 else f"the server answers a handshake with {status}"

    def stop(self) -> str:
        """End it; return what is wrong with that or with its log, or nothing."""
        assert self.process.stdin and self.process.stdout
        fault = ""
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            if self.process.wait(PATIENCE_SECONDS):
                fault = f"the server ended with exit code {self.process.returncode}"
        except subprocess.TimeoutExpired:
            fault = f"the server didn't end within {PATIENCE_SECONDS} s"
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
        if "Traceback" in self.log.read_text(errors="replace"):
            fault = fault or f"the server logged an exception: {self._last_words()}"
        return fault

"""A WebSocket server that does what a script tells it, right or wrong."""

from __future__ import annotations

import base64
import hashlib
import socket
import ssl
import struct
import threading
from typing import Any, Callable

from tests.support.frames import CLOSE
from tests.support.waiting import DEADLINE
from ws.wire.frames import frame, unmask

Script = Callable[["Peer"], Any]
"""What to do with one connection. TCP ends when it returns."""


class Peer:
    """The server's end of one connection; it blocks, with a deadline.

    Attributes:
        sock: The socket.
        head: The head of the request, once it is read.
    """

    head = ""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(DEADLINE)
        self._buffer = b""

    def read_head(self) -> str:
        """Return the head of a request."""
        while b"\r\n\r\n" not in self._buffer:
            self._receive()
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        self.head = head.decode("latin-1")
        return self.head

    def field(self, name: str) -> str:
        """Return the value of one of the request's fields, or ""."""
        for line in self.head.split("\r\n")[1:]:
            key, _, value = line.partition(": ")
            if key.lower() == name.lower():
                return value
        return ""

    def accept(self, *lines: str, **changes: str | None) -> None:
        """Read the request, and accept it.

        Args:
            lines: More lines for the answer's head.
            changes: New values of its fields by name, with "_" for "-"; None leaves one out.
        """
        self.read_head()
        self.sock.sendall(self.answer(*lines, **changes))

    def answer(self, *lines: str, **changes: str | None) -> bytes:
        """Return the answer that accepts the request, with changes as for `accept`."""
        key = self.field("Sec-WebSocket-Key").encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        fields = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": base64.b64encode(hashlib.sha1(key).digest()).decode(),
            **{name.replace("_", "-"): value for name, value in changes.items()},
        }
        given = [f"{name}: {value}" for name, value in fields.items() if value is not None]
        head = ["HTTP/1.1 101 Switching Protocols", *given, *lines, "", ""]
        return "\r\n".join(head).encode("latin-1")

    def send(self, *data: bytes) -> None:
        """Send bytes together."""
        self.sock.sendall(b"".join(data))

    def send_frame(self, opcode: int, payload: bytes = b"") -> None:
        """Send one frame."""
        self.sock.sendall(frame(opcode, payload))

    def recv_frame(self) -> tuple[int, bytes]:
        """Return the next frame's opcode and payload; it must be masked (RFC 6455 §5.1)."""
        first, second = self.read(2)
        assert second & 0x80, "unmasked"
        length = second & 0x7F
        if length > 125:
            length = int.from_bytes(self.read(2 if length == 126 else 8), "big")
        key = self.read(4)
        return first & 0x0F, bytes(unmask(self.read(length), key))

    def close(self, code: int = 1000) -> None:
        """Do the closing handshake from this end."""
        self.send_frame(CLOSE, struct.pack("!H", code))
        while self.recv_frame()[0] != CLOSE:
            pass

    def echo_close(self) -> int:
        """Pass over frames up to the client's close frame, and answer it; return its code."""
        while True:
            opcode, payload = self.recv_frame()
            if opcode == CLOSE:
                self.send_frame(CLOSE, payload)
                return struct.unpack("!H", payload[:2])[0] if payload else 1005

    def read(self, size: int) -> bytes:
        """Return the next *size* bytes."""
        while len(self._buffer) < size:
            self._receive()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def at_eof(self) -> bool:
        """Wait for the end of TCP, and pass over what comes before it."""
        try:
            while self.sock.recv(1 << 16):
                pass
        except ConnectionError:
            pass
        return True

    def reset(self) -> None:
        """End TCP by a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _receive(self) -> None:
        data = self.sock.recv(1 << 16)
        if not data:
            raise EOFError("the client closed TCP")
        self._buffer += data


class RawServer:
    """Runs a script for each connection, in a thread.

    Args:
        script: The script, or several: one for each connection in order, the last one for the rest.
        context: For TLS.

    Attributes:
        peers: The connections so far.
    """

    def __init__(self, *script: Script, context: ssl.SSLContext | None = None) -> None:
        self._scripts, self._context = list(script), context
        self.peers: list[Peer] = []
        self.errors: list[BaseException] = []
        self._sock = socket.socket()
        self._sock.bind(("127.0.0.1", 0))
        self._sock.listen(128)
        self.port = self._sock.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """Its URL."""
        return f"{'wss' if self._context else 'ws'}://localhost:{self.port}/"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._sock.accept()
            except OSError:
                return
            script = self._scripts[min(len(self.peers), len(self._scripts) - 1)]
            thread = threading.Thread(target=self._run, args=(script, sock), daemon=True)
            self._threads.append(thread)
            self.peers.append(Peer(sock))
            thread.start()

    def _run(self, script: Script, sock: socket.socket) -> None:
        peer = next(peer for peer in self.peers if peer.sock is sock)
        try:
            if self._context:
                peer.sock = self._context.wrap_socket(sock, server_side=True)
            script(peer)
        except (EOFError, OSError):  # the client has left
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            peer.sock.close()

    def close(self) -> None:
        """Stop listening, and check that no script has failed."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._sock.close()
        for peer in self.peers:
            try:
                peer.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads:
            thread.join(DEADLINE)
        if self.errors:
            raise self.errors[0]

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

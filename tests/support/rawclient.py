"""A WebSocket client that does what it is told, right or wrong; it blocks, with a deadline."""

from __future__ import annotations

import socket
import ssl
import struct
from typing import Any

from tests.support.frames import BINARY, CLOSE, PING, PONG, TEXT, frame
from tests.support.heads import request
from tests.support.waiting import DEADLINE


class RawClient:
    """A connection.

    Args:
        port: The server's port.
        head: Sent at once, and then the answer's head is read; None to send nothing.
        address: The server's address.
        source: The address to connect from; "" lets the system choose.
        context: For TLS.
        unix: The path of a Unix socket to connect to, in place of an address and a port.

    Attributes:
        sock: The socket.
        buffer: What was received and isn't read yet.
        response: The head of the answer to the handshake, "" before it.
        status: The status code in it, 0 before it.
    """

    sock: socket.socket

    def __init__(
        self,
        port: int,
        head: bytes | None = None,
        *,
        address: str = "127.0.0.1",
        source: str = "",
        context: ssl.SSLContext | None = None,
        unix: str | None = None,
    ) -> None:
        if unix:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(unix)
        else:
            self.sock = socket.create_connection((address, port), DEADLINE, (source, 0))
            if (
                self.sock.getsockname() == self.sock.getpeername()
            ):  # nobody listens, and the system chose this port as the source
                self.sock.close()
                raise ConnectionRefusedError("connected to itself")
        self.sock.settimeout(DEADLINE)
        if context:
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        self.buffer = b""
        self.status = 0
        self.response = ""
        if head is not None:
            self.handshake(head)

    def handshake(self, head: bytes) -> None:
        """Send a head, and read the answer's: `status` and `response`."""
        self.sock.sendall(head)
        self.response = self.read_until(b"\r\n\r\n").decode("latin-1")
        self.status = int(self.response.split(" ")[1])

    def read_until(self, end: bytes) -> bytes:
        """Return what comes, up to and with *end*."""
        while end not in self.buffer:
            self.receive()
        data, self.buffer = self.buffer.split(end, 1)
        return data + end

    def read(self, size: int) -> bytes:
        """Return the next *size* bytes."""
        while len(self.buffer) < size:
            self.receive()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def receive(self) -> None:
        """Take what has come into the buffer; wait until something has."""
        data = self.sock.recv(1 << 16)
        if not data:
            raise EOFError("the server closed TCP")
        self.buffer += data

    def send(self, message: str | bytes) -> None:
        """Send a message in one frame."""
        payload = message.encode() if isinstance(message, str) else message
        self.sock.sendall(frame(TEXT if isinstance(message, str) else BINARY, payload))

    def send_frames(self, *frames: bytes) -> None:
        """Send frames together."""
        self.sock.sendall(b"".join(frames))

    def recv_frame(self) -> tuple[int, bytes, bool]:
        """Return the next frame's opcode and payload, and whether it is its message's last."""
        first, length = self.read(2)
        if length == 126:
            (length,) = struct.unpack("!H", self.read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.read(8))
        return first & 0x0F, self.read(length), bool(first & 0x80)

    def recv(self) -> Any:
        """Return the next message, str or bytes; (code, reason) for a close frame."""
        kind, message = None, b""
        while True:
            opcode, payload, fin = self.recv_frame()
            if opcode == CLOSE:
                code = struct.unpack("!H", payload[:2])[0] if payload else 1005
                return code, payload[2:].decode()
            if opcode in (PING, PONG):
                continue
            kind = kind or opcode
            message += payload
            if fin:
                return message.decode() if kind == TEXT else message

    def at_eof(self) -> bool:
        """Say whether the server closes TCP before anything else comes."""
        try:
            return not (self.buffer or self.sock.recv(1))
        except ConnectionError:
            return True

    def close(self) -> None:
        """Close TCP, without a closing handshake."""
        self.sock.close()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def connect(port: int, path: str = "/", *fields: str, **options: Any) -> RawClient:
    """Return a client whose handshake was accepted; *options* are those of `RawClient`."""
    client = RawClient(port, request(path, *fields), **options)
    assert client.status == 101, client.response
    return client

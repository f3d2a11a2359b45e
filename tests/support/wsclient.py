"""A WebSocket client that does just what it is told, right or wrong; blocking, with a deadline."""

from __future__ import annotations

import os
import random
import signal
import socket
import struct
import subprocess
import time
from contextlib import suppress

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
DEADLINE = 10.0
"""Seconds after which anything that is awaited has failed to come."""


def popen(command, **options):
    """Start a program that heeds Ctrl-C, though whoever runs the tests may ignore it."""
    if os.name == "posix":
        options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def free_port():
    """Return a port that nobody listens on, for programs that can't say which they took.

    Systems choose from above 32768 for a connection's own end, so none can take it meanwhile; the
    attempts to reach the program could, else.
    """
    while True:
        port = random.randrange(20_000, 32_768)
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


def listens(port):
    """Say whether somebody does."""
    try:
        socket.create_connection(("127.0.0.1", port), DEADLINE).close()
    except OSError:
        return False
    return True


def request(path="/", *fields, host="localhost", method="GET"):
    """Return a handshake's head, with additional fields."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket"]
    lines += ["Connection: Upgrade", f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13"]
    return "\r\n".join([*lines, *fields, "", ""]).encode("latin-1")


def frame(opcode, payload=b"", fin=True, key=None, rsv=0):
    """Return a masked frame."""
    key = os.urandom(4) if key is None else key
    length = len(payload)
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if length < 126:
        head += bytes([0x80 | length])
    elif length < 65536:
        head += struct.pack("!BH", 0xFE, length)
    else:
        head += struct.pack("!BQ", 0xFF, length)
    repeated = int.from_bytes((key * (length // 4 + 1))[:length], "little")
    masked = int.from_bytes(payload, "little") ^ repeated
    return head + key + masked.to_bytes(length, "little")


def close_frame(code=1000, reason=""):
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())


class WSClient:
    """A connection; unless *head* is None it has sent that and read the answer."""

    def __init__(self, port, head=None, *, address="127.0.0.1", source="", context=None, unix=None):
        if unix:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(unix)
        else:
            self.sock = socket.create_connection((address, port), DEADLINE, (source, 0))
            if self.sock.getsockname() == self.sock.getpeername():  # chance: nobody listens yet
                self.sock.close()
                raise ConnectionRefusedError("connected to itself")
        self.sock.settimeout(DEADLINE)
        if context:
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        self.buffer = b""
        self.status = self.response = None
        if head is not None:
            self.handshake(head)

    def handshake(self, head):
        self.sock.sendall(head)
        self.response = self.read_until(b"\r\n\r\n").decode("latin-1")
        self.status = int(self.response.split(" ")[1])

    def read_until(self, end):
        while end not in self.buffer:
            self._fill()
        data, self.buffer = self.buffer.split(end, 1)
        return data + end

    def read(self, size):
        while len(self.buffer) < size:
            self._fill()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def _fill(self):
        data = self.sock.recv(1 << 16)
        if not data:
            raise EOFError("the server closed TCP")
        self.buffer += data

    def send(self, message):
        payload = message.encode() if isinstance(message, str) else message
        self.sock.sendall(frame(TEXT if isinstance(message, str) else BINARY, payload))

    def send_frames(self, *frames):
        self.sock.sendall(b"".join(frames))

    def recv_frame(self):
        """Return (opcode, payload, fin) of the next frame."""
        first, length = self.read(2)
        if length == 126:
            (length,) = struct.unpack("!H", self.read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.read(8))
        return first & 0x0F, self.read(length), bool(first & 0x80)

    def recv(self):
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

    def at_eof(self):
        """Say whether the server closes TCP before anything else comes."""
        try:
            return not (self.buffer or self.sock.recv(1))
        except ConnectionError:
            return True

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def connect(port, path="/", *fields, **options):
    """Return a client whose handshake was accepted."""
    client = WSClient(port, request(path, *fields), **options)
    assert client.status == 101, client.response
    return client


def eventually(condition, seconds=DEADLINE):
    """Wait until *condition()* is true and return it; fail at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "it didn't come true in time"
        time.sleep(0.002)

"""Connecting: the addresses of a host, and sockets whose calls block until a deadline."""

from __future__ import annotations

import errno
import ipaddress
import os
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any, Callable, Sequence

from ..wire.opening import ResponseReader, ServerResponse
from .client import wait_for
from .daemon import DaemonThread
from .poll import READ, WRITE
from .sockets import Client, PlainClient, TLSClient

NEXT_ADDRESS_SECONDS = 0.25
"""If an address hasn't answered for this long, the next one is tried as well (RFC 8305 §5)."""
MAX_BODY_BYTES = 1 << 16
"""Of the content of a response, this much is read."""
BODY_SECONDS = 1.0
"""The content of a response is awaited for this long."""

# For a socket or two, these take fewer system calls than the default one.
_Selector: type[selectors.BaseSelector] = getattr(
    selectors, "PollSelector", selectors.SelectSelector
)
_IN_PROGRESS = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", 0))


class Stream:
    """A socket whose calls block until a deadline.

    Raises, from all methods:
        TimeoutError: The deadline has passed.
        OSError: The connection is lost.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        sock.setblocking(False)
        self.sock: socket.socket = sock
        self.deadline: float = deadline

    def _complete(self, operation: Callable[..., Any], *arguments: Any, waits_to: int) -> Any:
        """Call a method of the socket, again and again until it needn't wait."""
        while True:
            try:
                return operation(*arguments)
            except ssl.SSLWantReadError:
                mask = READ
            except ssl.SSLWantWriteError:
                mask = WRITE
            except BlockingIOError:
                mask = waits_to
            if not wait_for(self.sock.fileno(), mask, self.deadline - time.monotonic()):
                if time.monotonic() >= self.deadline:  # defence: dial-deadline
                    raise TimeoutError

    def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Do the TLS handshake, and check that the certificate is for this host."""
        context.sslsocket_class = TLSClient
        self.sock = sock = context.wrap_socket(
            self.sock, server_hostname=host, do_handshake_on_connect=False
        )
        self._complete(sock.do_handshake, waits_to=READ)

    def send(self, data: bytes) -> None:
        """Send all of *data*."""
        while data:
            data = data[self._complete(self.sock.send, data, waits_to=WRITE) :]

    def receive(self, size: int = 1 << 14) -> bytes:
        """Return what has come, *size* bytes at most.

        Raises:
            ConnectionResetError: The other end has ended the connection.
        """
        data: bytes = self._complete(self.sock.recv, size, waits_to=READ)
        if not data:
            raise ConnectionResetError("it has ended the connection without an answer")
        return data

    def read(self, size: int) -> bytes:
        """Return exactly *size* bytes."""
        data = b""
        while len(data) < size:
            data += self.receive(size - len(data))
        return data

    def read_response(self, limit: int) -> tuple[ServerResponse, bytes]:
        """Return a response without its content, and what came after it."""
        reader = ResponseReader(limit)
        while True:
            complete = reader.feed(self.receive())
            if complete:
                return complete

    def read_body(self, response: ServerResponse, begun: bytes) -> bytes:
        """Return the beginning of a response's content, as much as comes soon."""
        length = response.headers.get("content-length", "")
        size = min(int(length), MAX_BODY_BYTES) if length.isdecimal() else MAX_BODY_BYTES
        self.deadline = min(self.deadline, time.monotonic() + BODY_SECONDS)
        with suppress(OSError):
            while len(begun) < size:
                begun += self.receive(size - len(begun))
        return begun[:size]

    def client(self) -> Client:
        """Return the socket as a client's. This object is of no use any more."""
        if isinstance(self.sock, Client):
            return self.sock
        kind = int(self.sock.family), int(self.sock.type), self.sock.proto
        return PlainClient(*kind, fileno=self.sock.detach())


def located(error: OSError, where: str) -> OSError:
    """Have an error say where it happened."""
    if error.strerror:
        error.strerror = f"{where}: {error.strerror}"
    else:
        error.args = (f"{where}: {error}",)
    return error


def connect(host: str, port: int, deadline: float) -> socket.socket:
    """Connect to the first address of a host that answers: "Happy Eyeballs" (RFC 8305).

    Raises:
        OSError: None answers, or the host has none.
        TimeoutError: The deadline has passed.
    """
    waiting = deque(interleave(resolve(host, port, deadline)))
    tried: list[str] = []
    error: OSError | None = None
    with _Selector() as selector:
        try:
            while waiting or selector.get_map():
                if waiting:
                    family, kind, proto, _, address = waiting.popleft()
                    tried.append(address[0])
                    try:
                        _begin(selector, socket.socket(family, kind, proto), address)
                    except OSError as problem:  # such as no route, or no IPv6 at all
                        error = problem
                        continue
                remaining = deadline - time.monotonic()
                pause = min(remaining, NEXT_ADDRESS_SECONDS) if waiting else remaining
                for key, _ in selector.select(max(0.0, pause)):
                    sock: socket.socket = key.fileobj  # type: ignore[assignment]
                    selector.unregister(sock)
                    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not number and sock.getsockname() == sock.getpeername():
                        number = errno.ECONNREFUSED  # nobody listens: connected to itself
                    if not number:
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        return sock
                    sock.close()
                    error = OSError(number, os.strerror(number))
                if time.monotonic() >= deadline:
                    raise TimeoutError
        finally:
            for key in list(selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]
    assert error
    raise located(error, f"{host}:{port} ({', '.join(tried)})")


def _begin(selector: selectors.BaseSelector, sock: socket.socket, address: Any) -> None:
    try:
        sock.setblocking(False)
        number = sock.connect_ex(address)
        if number not in _IN_PROGRESS:
            raise OSError(number, os.strerror(number))
        selector.register(sock, selectors.EVENT_WRITE)
    except BaseException:
        sock.close()
        raise


def interleave(addresses: Sequence[Any]) -> list[Any]:
    """Return the addresses with the two families by turns, the first one's first (RFC 8305 §4)."""
    first = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    mixed = []
    while first or others:
        mixed += first[:1] + others[:1]
        del first[:1], others[:1]
    return mixed


def resolve(host: str, port: int, deadline: float) -> Sequence[Any]:
    """Return the addresses of a host, as getaddrinfo has them.

    Raises:
        OSError: There are none.
        TimeoutError: The deadline has passed. The system's call has none, so a thread waits for it.
    """
    with suppress(ValueError):
        ipaddress.ip_address(host.partition("%")[0])
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    found: list[Any] = []
    answered = threading.Event()

    def ask() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)
        answered.set()

    DaemonThread(ask, "ws-resolve").start()
    if not answered.wait(max(0.0, deadline - time.monotonic())):
        raise TimeoutError
    if isinstance(found[0], OSError):
        raise located(found[0], host)
    if isinstance(found[0], Exception):
        raise OSError(f"{found[0]}: {host}")
    addresses: Sequence[Any] = found[0]
    return addresses

"""Listening sockets, and connections that begin with a header of the PROXY protocol."""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import Any, Callable, Iterator

from ..wire import proxy
from ..wire.events import Event
from .connection import AWAITING_REQUEST, TLS_HANDSHAKE, Connection
from .loop import Loop, Source
from .poll import READ
from .sockets import Client, PlainClient

ACCEPTS = 64
"""Connections that are accepted before the clients have their turn."""
RETRY_SECONDS = 0.25
"""Time without accepting after that failed."""
BACKLOG = 1024
"""Connections that the system may hold until they are accepted."""


def bind(
    host: str, port: int, reuse_port: bool = False, attempts: int = 10
) -> tuple[list[socket.socket], int]:
    """Listen on all addresses of a host, on one port.

    Args:
        host: A name or an address. "" is all of IPv4 and IPv6.
        port: 0 for a free one.
        reuse_port: Whether other processes may listen on the same port.
        attempts: How often to try again if a free port of one family is taken in the other.

    Returns:
        The sockets and the port.

    Raises:
        OSError: It says where it can't listen, and why.
    """
    flags, kind = socket.AI_PASSIVE, socket.SOCK_STREAM
    try:
        infos = dict.fromkeys(socket.getaddrinfo(host or None, port, type=kind, flags=flags))
    except (socket.gaierror, UnicodeError) as error:
        raise OSError(f"can't find {host!r}: {error}")
    chosen = port
    sockets: list[socket.socket] = []
    failure = OSError(f"{host!r} has no address")
    for family, _, _, _, address in infos:
        try:
            sockets.append(_listen(family, (address[0], chosen, *address[2:]), reuse_port))
            chosen = sockets[-1].getsockname()[1]
        except OSError as error:
            failure = error
            if error.errno == errno.EADDRINUSE:
                break  # other errors may mean that this machine lacks IPv6, or IPv4
    else:
        if sockets:
            return sockets, chosen
    for sock in sockets:
        sock.close()
    if sockets and not port and attempts:  # a free port of one family is taken in the other
        return bind(host, port, reuse_port, attempts - 1)
    raise failure


def bind_unix(path: str) -> socket.socket:
    """Listen on a Unix socket. Replace one that an earlier server has left."""
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
    except OSError:
        pass
    return _listen(socket.AF_UNIX, path)


def _listen(family: int, address: Any, reuse_port: bool = False) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # on Windows this would let others take the port over
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        where = address if isinstance(address, str) else f"{address[0]} port {address[1]}"
        raise OSError(error.errno, f"can't listen on {where}: {error.strerror}")
    return sock


class Listener(Source):
    """Accepts connections.

    Args:
        sock: A listening socket.
        loop: The loop that watches it.
        admit: Called with each client and its address.
        warn: Called with a message and an error when accepting fails.
    """

    __slots__ = ("_admit", "_kind", "_loop", "_sock", "_warn")

    def __init__(
        self,
        sock: socket.socket,
        loop: Loop,
        admit: Callable[[Client, Any], None],
        warn: Callable[..., None],
    ) -> None:
        super().__init__()
        self._sock, self._loop, self._admit, self._warn = sock, loop, admit, warn
        self._kind = int(sock.family), int(sock.type), sock.proto  # a client has the same
        sock.setblocking(False)
        loop.watch(self, READ)

    def fileno(self) -> int:
        return self._sock.fileno()

    def on_readable(self) -> None:
        for _ in range(ACCEPTS):
            try:
                descriptor, address = self._sock._accept()  # type: ignore[attr-defined]
                client = PlainClient(*self._kind, descriptor)  # accept() would make a socket first
            except (BlockingIOError, ConnectionAbortedError):
                return
            # No descriptors or no memory left; defence: accept-errors
            except OSError as error:
                self._warn("can't accept connections, will try again: %s", error)
                self._loop.watch(self, remove=READ)  # defence: accept-pause
                self._loop.schedule(self, time.monotonic() + RETRY_SECONDS)
                return
            try:
                self._admit(client, address)
            except (OSError, ValueError):  # it has left already, or can't be watched
                client.close()

    def on_deadline(self, now: float) -> None:
        self._loop.watch(self, READ)

    def close(self) -> None:
        """Stop listening."""
        self._loop.forget(self)
        self._sock.close()


class ProxiedConnection(Connection):
    """A connection that begins with a header of the PROXY protocol, before TLS.

    Args:
        rename: Called with the connection and the client's address, if the header has one.
        warn: Called with a message, the proxy's address and an error if the header is wrong.
    """

    __slots__ = ("_header", "_rename", "_warn")

    def __init__(
        self, *args: Any, rename: Callable[[Connection, Any], None], warn: Callable[..., None]
    ) -> None:
        super().__init__(*args)
        self._rename, self._warn = rename, warn
        self._header: bytes | None = b""
        self.stage: int = TLS_HANDSHAKE  # an HTTP response would come too early

    def on_readable(self) -> Iterator[Event] | None:
        if self._header is None:
            return super().on_readable()
        try:
            while proxy.missing(self._header):  # no more than that: the rest may be TLS
                data = socket.socket.recv(self.client, proxy.missing(self._header))
                if not data:
                    raise ConnectionResetError
                self._header += data
            address = proxy.parse(self._header)
        except BlockingIOError:
            return None
        except (OSError, ValueError) as error:
            if isinstance(error, ValueError):
                self._warn("proxy %s refused: %s", self.client.getpeername(), error)
            self.dispose()
            return None
        self._header = None
        self.stage = TLS_HANDSHAKE if self._tls else AWAITING_REQUEST
        if address:
            self._rename(self, address)
        return None

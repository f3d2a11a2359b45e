"""Listening sockets: made here, and accepted from; and what a proxy says ahead of its client."""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import Any, Callable, Iterator

from . import proxy
from .client import HEAD, TLS, Client, Connection, PlainClient
from .loop import Loop, Source
from .poll import READ
from .protocol import Event

ACCEPTS = 64
"""Connections accepted between two looks at the clients."""
PAUSE = 0.25
"""Seconds without accepting after that failed."""
BACKLOG = 1024
"""Connections that the system may hold until they are accepted."""


def bind(
    host: str, port: int, reuse_port: bool = False, attempts: int = 10
) -> tuple[list[socket.socket], int]:
    """Listen on all addresses of *host*, '' for any, on one port; return the sockets and the port.

    Raises OSError that says where it can't listen, and why.
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
                break  # any other may mean that this machine lacks IPv6, or IPv4
    else:
        if sockets:
            return sockets, chosen
    for sock in sockets:
        sock.close()
    if sockets and not port and attempts:  # what was free for one family wasn't for the other
        return bind(host, port, reuse_port, attempts - 1)
    raise failure


def bind_unix(path: str) -> socket.socket:
    """Listen on a Unix socket, in place of one that a server left behind."""
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
    """Accepts connections; admit(client, address) gets each, warn(message, error) what fails."""

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
        loop.poll(self, READ)

    def fileno(self) -> int:
        return self._sock.fileno()

    def on_readable(self) -> None:
        for _ in range(ACCEPTS):
            try:
                descriptor, address = self._sock._accept()  # type: ignore[attr-defined]
                client = PlainClient(*self._kind, descriptor)  # accept() would make a socket first
            except (BlockingIOError, ConnectionAbortedError):
                return
            # no descriptors or memory left: wait for better times; defence: accept-errors
            except OSError as error:
                self._warn("can't accept connections, will try again: %s", error)
                self._loop.poll(self, remove=READ)  # defence: accept-pause
                self._loop.schedule(self, time.monotonic() + PAUSE)
                return
            try:
                self._admit(client, address)
            except (OSError, ValueError):  # it has gone already
                client.close()

    def on_deadline(self, now: float) -> None:
        self._loop.poll(self, READ)

    def close(self) -> None:
        """Stop listening."""
        self._loop.forget(self)
        self._sock.close()


class ProxiedConnection(Connection):
    """A connection that begins with a PROXY protocol header, ahead of TLS.

    told(connection, address) gets the client's address, if there is one in the header;
    warn(message, peer, error) what is wrong with it.
    """

    __slots__ = ("_header", "_told", "_warn")

    def __init__(
        self, *args: Any, told: Callable[[Connection, Any], None], warn: Callable[..., None]
    ) -> None:
        super().__init__(*args)
        self._told, self._warn = told, warn
        self._header: bytes | None = b""
        self.stage = TLS  # so far it can't be answered in HTTP

    def on_readable(self) -> Iterator[Event] | None:
        if self._header is None:
            return super().on_readable()
        try:
            while proxy.missing(self._header):  # and no more than that: the rest is for TLS
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
            self.drop()
            return None
        self._header = None
        self.stage = TLS if self._tls else HEAD
        if address:
            self._told(self, address)
        return None

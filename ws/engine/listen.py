"""Listening sockets, and connections that begin with a header of the PROXY protocol."""

from __future__ import annotations

import socket
import time
from typing import Any, Callable, Iterator

from ..wire import proxy
from ..wire.events import Event
from .connection import AWAITING_REQUEST, TLS_HANDSHAKE, Connection
from .loop import Loop, Source
from .poll import READ
from .shares import Share
from .sockets import Client, PlainClient

ACCEPTING_SECONDS = 0.003  # defence: accept-time
"""Connections are accepted for at most about this long. Then clients are served."""
RETRY_SECONDS = 0.25
"""After accepting has failed, the listener pauses for this long."""


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
        self.share: Share = Share()
        self._sock, self._loop, self._admit, self._warn = sock, loop, admit, warn
        self._kind = int(sock.family), int(sock.type), sock.proto  # those of its clients, too
        sock.setblocking(False)
        loop.watch(self, READ)

    def fileno(self) -> int:
        return self._sock.fileno()

    def on_readable(self) -> None:
        if self.forgotten:  # by a shutdown in this very round
            return
        until = time.monotonic() + ACCEPTING_SECONDS
        while time.monotonic() < until:
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
            except (OSError, ValueError):  # the client has left already, or can't be watched
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
            while proxy.missing(self._header):  # read no further: TLS may follow
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

"""Limits on connections, in total and for each address; and the checks of a request."""

from __future__ import annotations

import threading
from typing import Any, Callable, Sequence

from .engine.connection import Connection
from .engine.limits import Limits
from .engine.shares import NOBODY, Share
from .wire.handshake import check_host, check_upgrade, parse_hosts
from .wire.http11 import HandshakeError, Request
from .wire.proxy import Proxies

REFUSED_SPARE = 100  # defence: refused-count
"""This many connections over a limit still get an HTTP response. Further ones are only closed."""


class TooMany(Exception):
    """The connection is to be closed without a response.

    Too many are over a limit already, or the peer isn't a trusted proxy.
    """


class Admission:
    """Counts connections, and refuses connections and requests.

    Any thread may call any method.

    Args:
        limits: `max_clients` and `max_clients_per_address`.
        origins: See `WSServer`.
        hosts: See `WSServer`.
        proxies: The trusted proxies.
        proxy_protocol: Whether these send a header of the PROXY protocol.
        warn: Called with a message and its arguments when somebody is refused.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        origins: Sequence[str],
        hosts: Sequence[str] | None,
        proxies: Proxies,
        proxy_protocol: bool,
        warn: Callable[..., None],
    ) -> None:
        self._limits, self._warn = limits, warn
        self._origins = origins
        self._hosts = None if hosts is None else parse_hosts(hosts)
        self._proxies, self._proxy_protocol = proxies, proxy_protocol
        self.accepted: int = 0
        """Connections so far, including those that got a refusal as their response."""
        self.lock: Any = threading.RLock()
        """Guards the attributes below. Held only briefly. Reentrant: `Lifecycle.wait` has to know
        whether the calling thread holds it."""
        self._connections: dict[Connection, None] = {}
        self._shares: dict[str, Share] = {}  # of the IP addresses that have connections

    def __len__(self) -> int:
        """The number of connections now, including those in a handshake and closing ones."""
        return len(self._connections)

    @property
    def connections(self) -> list[Connection]:
        """All connections. The list is a copy."""
        with self.lock:
            return list(self._connections)

    def check_peer(self, address: Any) -> HandshakeError | None:
        """Decide on one more connection from a peer, before its request is known.

        Args:
            address: The peer's address, as accept() returned it.

        Returns:
            None to accept the connection, or the refusal with which to answer its request.

        Raises:
            TooMany: The connection is to be closed without an answer.
        """
        ip = ip_of(address)
        if self._proxy_protocol and ip not in self._proxies:  # defence: proxy-header-peers
            self._warn("%s refused; to let it in, pass trusted_proxies=[...]", ip or "unix")
            raise TooMany
        refusal = self._check_address(ip)
        over = len(self._connections) - self._limits.max_clients  # defence: client-count
        if over >= REFUSED_SPARE:
            raise TooMany
        if over >= 0:
            self._warn("max_clients=%d reached, refusing %s", self._limits.max_clients, ip)
            refusal = HandshakeError(503, "too many connections")
        return refusal

    def _check_address(self, ip: str) -> HandshakeError | None:
        """Decide on one more connection from an IP address.

        Trusted proxies are exempt. Their clients are counted, by the addresses that they report.

        Raises:
            TooMany: The connection is to be closed without an answer.
        """
        limit = self._limits.max_clients_per_address
        over = self._shares.get(ip, NOBODY).connections - limit
        if over < 0 or not ip or ip in self._proxies:  # defence: address-count
            return None
        self._warn("max_clients_per_address=%d reached by %s", limit, ip)
        if over >= REFUSED_SPARE:
            raise TooMany
        return HandshakeError(429, "too many connections from your address")

    def enter(self, connection: Connection, address: Any) -> None:
        """Count a connection."""
        ip = ip_of(address)
        with self.lock:
            self._connections[connection] = None
            self._count(connection, ip)
            self.accepted += 1

    def leave(self, connection: Connection) -> None:
        """Stop counting a connection."""
        with self.lock:
            if connection in self._connections:
                del self._connections[connection]  # defence: connection-set
                self._uncount(connection)

    def rename(self, connection: Connection, address: Any) -> None:
        """Count a connection for the client's address, which a trusted proxy reports.

        Until then it counted for the proxy's address.
        """
        ip = ip_of(address)
        try:
            refusal = self._check_address(ip)
        except TooMany:
            connection.dispose()
            return
        with self.lock:
            if connection in self._connections:
                self._uncount(connection)
                self._count(connection, ip)
        connection.client.attach(address, connection.cut)
        connection.refusal = connection.refusal or refusal

    def _count(self, connection: Connection, ip: str) -> None:
        connection.share = share = self._shares.setdefault(ip, Share(ip))
        share.connections += 1

    def _uncount(self, connection: Connection) -> None:
        share = connection.share
        share.connections -= 1
        if not share.connections:
            del self._shares[share.address]

    def check_request(self, connection: Connection, request: Request) -> None:
        """Take over what a trusted proxy's headers say about a request, then check the request.

        Raises:
            HandshakeError: The request is refused.
        """
        peer = connection.client.getpeername()
        self.identify(request, peer)
        if request.address != peer:
            self.rename(connection, request.address)
        if connection.refusal:
            raise connection.refusal
        self.check(request)

    def identify(self, request: Request, address: Any) -> None:
        """Set a request's address, and if it came by TLS: as trusted proxies report them.

        Args:
            request: The request.
            address: The address of the peer that sent it.
        """
        ip, tokens = ip_of(address), request.headers.tokens
        request.address = address
        if ip in self._proxies and not self._proxy_protocol:
            origin = self._proxies.origin(ip, tokens("x-forwarded-for"))
            if origin != ip:
                request.address = (origin, 0)
            for scheme in tokens("x-forwarded-proto")[-1:]:
                request.secure = scheme.lower() in ("https", "wss")

    def check(self, request: Request) -> None:
        """Check the request itself: its host, and if it asks for a WebSocket, the handshake.

        Raises:
            HandshakeError: The request is refused.
        """
        try:
            if self._hosts is not None:  # defence: hosts
                check_host(request, self._hosts)
            if request.is_upgrade:
                check_upgrade(request, self._origins)
        except HandshakeError as error:
            option = {403: "origins", 421: "hosts"}.get(error.response.status)
            if option:
                value = request.headers.get(option[:-1])
                # defence: log-escape
                self._warn(f"{option[:-1]} %a refused; to let it in, pass {option}=[...]", value)
            raise


def ip_of(address: Any) -> str:
    """Return the IP address in a peer's address, or "" for a Unix socket's."""
    return address[0] if isinstance(address, tuple) else ""

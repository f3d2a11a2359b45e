"""Limits on connections, in total and for each address; and the checks of a request."""

from __future__ import annotations

import socket
import sys
import threading
from typing import Any, Callable, Sequence

from .descriptors import provide
from .engine.connection import Connection
from .engine.limits import LEAST_PER_ADDRESS, Limits
from .engine.overload import Overload
from .engine.shares import NOBODY, Share
from .wire.handshake import check_host, check_upgrade, parse_hosts
from .wire.http11 import HandshakeError, Request
from .wire.proxy import UNKNOWN, Proxies

_IPV4_INSIDE = (bytes(10) + b"\xff\xff", b"\0\x64\xff\x9b" + bytes(8))
"""The prefixes ::ffff:0:0/96 and 64:ff9b::/96."""

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
        overload: Refuses connections when there is little memory left.
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
        overload: Overload,
        origins: Sequence[str],
        hosts: Sequence[str] | None,
        proxies: Proxies,
        proxy_protocol: bool,
        warn: Callable[..., None],
    ) -> None:
        self._limits, self._warn = limits, warn
        self.overload: Overload = overload
        self._origins = origins
        self._hosts = None if hosts is None else parse_hosts(hosts)
        self._proxies, self._proxy_protocol = proxies, proxy_protocol
        self.accepted: int = 0
        """Connections so far, including those that got a refusal as their response."""
        self.lock: Any = threading.RLock()
        """Guards the attributes below. Held only briefly. Reentrant: `Lifecycle.wait` has to know
        whether the calling thread holds it."""
        self._connections: dict[Connection, None] = {}
        self._shares: dict[str, Share] = {}  # of the networks that have connections or callbacks
        self._left: set[Share] = set()  # those of them that have no connection
        self._per_address = limits.max_clients_per_address
        self._spare = REFUSED_SPARE
        self._refused = sys.maxsize  # the first descriptor that is too high for a client

    def __len__(self) -> int:
        """The number of connections now, including those in a handshake and closing ones."""
        return len(self._connections)

    @property
    def connections(self) -> list[Connection]:
        """All connections. The list is a copy."""
        with self.lock:
            return list(self._connections)

    def is_one_network(self) -> bool:
        """Say whether all connections are from one network."""
        return len(self._shares) - len(self._left) < 2

    def prepare(self) -> None:
        """Have the system provide a descriptor for each connection, or have fewer connections.

        Raises:
            OSError: No descriptor is free.
        """
        limits = self._limits
        free, reserved = provide(limits.max_clients + REFUSED_SPARE)
        self._spare = max(0, min(REFUSED_SPARE, (reserved - free) // 8))
        self._refused = reserved - self._spare
        places = max(1, min(limits.max_clients, self._refused - free))
        if places < limits.max_clients:
            self._warn(
                "max_clients=%d, but the system's limit on descriptors (ulimit -Hn) leaves room "
                "for only %d: raise that limit (LimitNOFILE= of systemd, --ulimit nofile= of "
                "Docker), or pass max_clients=%d",
                *(limits.max_clients, places, places),
            )
        least = min(LEAST_PER_ADDRESS, limits.max_clients_per_address)
        in_proportion = limits.max_clients_per_address * places // limits.max_clients
        self._per_address = max(least, in_proportion)
        if self._per_address >= places > LEAST_PER_ADDRESS:
            self._warn(
                "max_clients_per_address=%d lets one address take all of max_clients=%d",
                *(limits.max_clients_per_address, limits.max_clients),
            )

    def check_peer(self, address: Any, descriptor: int) -> HandshakeError | None:
        """Decide on one more connection from a peer, before its request is known.

        Args:
            address: The peer's address, as accept() returned it.
            descriptor: The connection's.

        Returns:
            None to accept the connection, or the refusal with which to answer its request.

        Raises:
            TooMany: The connection is to be closed without an answer.
        """
        ip = ip_of(address)
        if self._proxy_protocol and ip not in self._proxies:  # defence: proxy-header-peers
            self._warn("%s refused; to let it in, pass trusted_proxies=[...]", ip or "unix")
            raise TooMany
        over = len(self._connections) - self._limits.max_clients  # defence: client-count
        if over >= 0:
            self._warn("max_clients=%d reached, refusing %s", self._limits.max_clients, ip)
        short = descriptor - self._refused  # defence: descriptor-reserve
        if short >= 0:
            self._warn("only the application's reserve of descriptors is left, refusing %s", ip)
        if max(over, short) >= self._spare:
            raise TooMany
        if max(over, short) >= 0:
            return HandshakeError(503, "too many connections")
        # Trusted proxies are exempt: their clients are counted, by the addresses that they report
        exempt = not ip or ip in self._proxies
        return None if exempt else self._check_network(network_of(ip))

    def _check_network(self, network: str) -> HandshakeError | None:
        """Decide on one more connection from a network, or from an address of IPv4.

        Raises:
            TooMany: The connection is to be closed without an answer.
        """
        share = self._shares.get(network, NOBODY)
        over = share.connections - self._per_address
        if over < 0:  # defence: address-count
            if self.overload.refuse(share):
                return HandshakeError(503, "too much memory is in use by your address")
            return None
        self._warn("max_clients_per_address=%d reached by %s", self._per_address, network)
        if over >= self._spare:
            raise TooMany
        return HandshakeError(429, "too many connections from your address")

    def enter(self, connection: Connection, address: Any) -> None:
        """Count a connection."""
        network = network_of(ip_of(address))
        with self.lock:
            self._connections[connection] = None
            self._count(connection, network)
            self.accepted += 1

    def leave(self, connection: Connection) -> None:
        """Stop counting a connection."""
        with self.lock:
            if connection in self._connections:
                del self._connections[connection]  # defence: connection-set
                self._uncount(connection)

    def rename(self, connection: Connection, address: Any) -> None:
        """Count a connection for the client's address, which a trusted proxy reports.

        Until then it counted for the proxy's address. Clients whose proxy doesn't tell their
        address have one share together, and keep the proxy's address.
        """
        network = network_of(ip_of(address))
        try:
            refusal = self._check_network(network)
        except TooMany:
            connection.dispose()
            return
        with self.lock:
            if connection in self._connections:
                self._uncount(connection)
                self._count(connection, network)
        if network != UNKNOWN:
            connection.client.attach(address, connection.cut)
        connection.refusal = connection.refusal or refusal

    def _count(self, connection: Connection, network: str) -> None:
        connection.share = share = self._shares.setdefault(network, Share(network))
        self._left.discard(share)
        connection.used = share.floor
        share.connections += 1

    def _uncount(self, connection: Connection) -> None:
        connection.share.connections -= 1
        if not connection.share.connections:
            self._left.add(connection.share)
            # Those with callbacks still take threads of the server; defence: share-of-leavers
            for done in [one for one in self._left if not one.workers]:
                self._left.remove(self._shares.pop(done.address))

    def check_request(self, connection: Connection, request: Request) -> None:
        """Take over what a trusted proxy's headers say about a request, then check the request.

        Raises:
            HandshakeError: The request is refused.
        """
        peer = connection.client.getpeername()
        self.identify(request, peer)
        if request.address != peer:
            self.rename(connection, request.address)
            request.address = connection.client.getpeername()
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
            forwarded_for = tokens("x-forwarded-for")
            if forwarded_for:
                request.address = (self._proxies.origin(ip, forwarded_for), 0)
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


def network_of(ip: str) -> str:
    """Return the network by which an address is counted: for IPv6, its /64.

    One host has all addresses of its /64, so that they would be no bound. An IPv4 address counts as
    itself, also inside an IPv6 address: mapped (RFC 4291 §2.5.5.2) or translated (RFC 6052 §2.1).
    """
    if ":" not in ip:
        return ip
    packed = socket.inet_pton(socket.AF_INET6, ip.partition("%")[0])
    if packed[:12] in _IPV4_INSIDE:
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return socket.inet_ntop(socket.AF_INET6, packed[:8] + bytes(8)) + "/64"  # defence: ipv6-network

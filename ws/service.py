"""`Service` accepts connections, decides on their requests, and calls the callbacks."""

from __future__ import annotations

import functools
import os
import socket
import ssl
import threading
import weakref
from contextlib import suppress
from typing import Any, Callable, Iterator, Sequence

from .admission import Admission, TooMany
from .descriptors import lowest_free
from .engine.connection import OPEN, Connection, Owner
from .engine.limits import Limits
from .engine.listen import Listener, ProxiedConnection
from .engine.log import Warnings, logger
from .engine.loop import Loop
from .engine.overload import Overload
from .engine.sockets import Client
from .engine.threads import LeaderFollowers
from .lifecycle import Draining, Lifecycle
from .metrics import Metrics
from .rooms import Rooms
from .wire.deflate import Compression, negotiate
from .wire.frames import CloseCode
from .wire.handshake import accept, choose_subprotocol, not_an_upgrade
from .wire.http11 import HandshakeError, Request, Response

REASON = "server is shutting down"


class Service(Owner, Draining):
    """The owner of a server's connections, and the steps of its shutdown.

    Args:
        limits: The limits of each connection, and of the threads.
        context: The TLS context, or None.
        subprotocols: Names to agree on, the best first.
        compression: The settings for permessage-deflate, or None.
        proxy_protocol: Whether connections begin with a header of the PROXY protocol.
        admission: Limits connections, and checks requests.
        rooms: The clients, and the rooms that they are in.
        warnings: Logs what peers can cause, at a limited rate.
        locks: More reentrant locks that the leader may wait for: the backplane's.
        release: Called at the end of the shutdown, with the seconds that it may take.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        context: ssl.SSLContext | None,
        subprotocols: Sequence[str],
        compression: Compression | None,
        proxy_protocol: bool,
        admission: Admission,
        rooms: Rooms,
        warnings: Warnings,
        locks: Sequence[Any],
        release: Callable[[float], None],
    ) -> None:
        # The callbacks; each may be replaced at any time
        self.onopen: Callable[[Client], Any] = _ignore
        self.message: Callable[[Client, Any], Any] = _ignore
        self.onclose: Callable[[Client], Any] = _ignore
        self.onerror: Callable[[Client, BaseException], Any] = _ignore
        self.onrequest: Callable[[Request], Response | None] | None = None

        self._limits, self._context = limits, context
        self._subprotocols, self._compression = subprotocols, compression
        self.admission: Admission = admission
        self.overload: Overload = admission.overload
        self.rooms: Rooms = rooms
        self._warnings = warnings
        self._locks, self._release = locks, release
        self._make_connection: Callable[..., Connection] = Connection
        if proxy_protocol:
            self._make_connection = functools.partial(
                ProxiedConnection, rename=admission.rename, warn=warnings.warn
            )
        self.metrics: Metrics = Metrics(admission)
        self.lifecycle: Lifecycle = Lifecycle(self)
        self.threads: LeaderFollowers
        self.loop: Loop
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()
        self._finishing = 0  # onclose callbacks that are due or running; guarded by the lock

    def start(self, sockets: Sequence[socket.socket]) -> None:
        """Accept connections from these listening sockets, and serve them on new threads.

        If it raises, nothing is left running.

        Raises:
            OSError: The system can't watch a socket, or has no descriptor left.
            RuntimeError: The system can't start a thread.
        """
        self.admission.prepare()
        self.loop = Loop()
        self.overload.run(self.loop)
        self.threads = LeaderFollowers(
            self.loop, self._limits.threads, self.admission.is_one_network
        )
        self._listeners = []
        _running.add(self)
        try:
            for sock in sockets:
                self._listeners.append(Listener(sock, self.loop, self._admit, self._warnings.warn))
            self.threads.start()
        except BaseException:
            _running.discard(self)
            self.refuse_newcomers()
            self.loop.close()
            raise
        self.lifecycle.run(self.loop)

    def _admit(self, client: Client, address: Any) -> None:
        """Start serving a new TCP connection, unless it is refused."""
        try:
            refusal = self.admission.check_peer(address, client.fileno())
        except TooMany:
            client.close()
            return
        _prepare(client)
        if self._context:
            client = self._context.wrap_socket(  # type: ignore[assignment]
                client, server_side=True, do_handshake_on_connect=False
            )
        try:
            connection = self._make_connection(
                client, self.loop, self.threads.batch, self._limits, self
            )
            connection.await_request()
        except Exception:  # the system can't watch it, or has no memory
            client.close()
            raise
        client.attach(address, connection.cut)
        connection.refusal = refusal
        self.admission.enter(connection, address)

    def adopt(self, client: Client, request: Request, response: Response, rest: bytes) -> None:
        """Serve a connection whose request was read, checked and accepted elsewhere.

        Any thread may call it. If a shutdown has begun, the connection is closed.

        Args:
            client: Its socket.
            request: The request, with the client's address.
            response: The 101 response, with additional headers.
            rest: What was read after the request's head.
        """
        _prepare(client)
        connection = Connection(client, self.loop, self.threads.batch, self._limits, self)
        client.attach(request.address, connection.cut)
        client.request = request
        self.admission.enter(connection, request.address)
        if self.lifecycle.stopping:  # asked only now: who stops later finds it among the others
            connection.dispose()
            return
        self._accept(connection, request, response)
        connection.continue_after(rest)

    def examine(self, request: Request, address: Any) -> Response:
        """Decide on a request that was read elsewhere, as on one that a connection reads.

        `onrequest` is called, and may block.

        Args:
            request: The request. Its `address` and `secure` are set, as trusted proxies report.
            address: The peer's address.

        Returns:
            The response that `onrequest` has given, or an empty one of status 101.

        Raises:
            HandshakeError: The request is refused.
        """
        if self.lifecycle.stopping:
            raise HandshakeError(503, REASON)
        self.admission.identify(request, address)
        try:  # the duplicate gets the lowest free descriptor
            refusal = self.admission.check_peer(request.address, lowest_free())
        except (TooMany, OSError):
            refusal = HandshakeError(503, "too many connections")
        if refusal:
            raise refusal
        self.admission.check(request)
        response = self.onrequest(request) if self.onrequest is not None else None
        response = Response(101) if response is None else response
        if response.status == 101 and not request.is_upgrade:
            raise not_an_upgrade(request)
        return response

    # What a connection asks of its owner

    def request(self, connection: Connection, request: Request) -> None:
        try:
            self.admission.check_request(connection, request)
        except HandshakeError as error:
            self._respond(connection, request, error.response)
        else:
            if self.onrequest is None:
                self._answer(connection, request, None)

    def decide(self, connection: Connection, request: Request) -> None:
        response = self.onrequest(request) if self.onrequest is not None else None
        self._answer(connection, request, response)

    def _answer(self, connection: Connection, request: Request, response: Response | None) -> None:
        """Accept the request, or send the response that `onrequest` returned."""
        if response is not None and response.status != 101:
            self._respond(connection, request, response)
        elif not request.is_upgrade:
            self._respond(connection, request, not_an_upgrade(request).response)
        else:
            self._accept(connection, request, response)

    def _accept(self, connection: Connection, request: Request, response: Response | None) -> None:
        client = connection.client
        client.subprotocol = choose_subprotocol(request, self._subprotocols)
        deflate, extension = None, ""
        if self._compression:
            deflate, extension = negotiate(request.offers, self._compression)
        headers = response.headers if response is not None else {}
        switching = accept(request, client.subprotocol, headers, extension)
        self.rooms.enter(client, connection)
        if not connection.open(switching, deflate):
            self.rooms.remove(client)

    def _respond(self, connection: Connection, request: Request, response: Response) -> None:
        logger.info("%s: %r: %d", connection.client.getpeername(), request, response.status)
        connection.answer(response, request.method)

    def opened(self, connection: Connection) -> None:
        self.onopen(connection.client)

    def leaving(self, connection: Connection, code: int, reason: str) -> None:
        client = connection.client
        client.close_code, client.close_reason = code, reason
        with self._lock:
            self._finishing += 1
        self.rooms.remove(client)

    def left(self, connection: Connection) -> None:
        try:
            if connection.opened:
                self.onclose(connection.client)
        finally:
            with self._lock:
                self._finishing -= 1
            self.lifecycle.check()

    def failed(self, connection: Connection, error: BaseException) -> None:
        client = connection.client
        try:
            self._warnings.error(error, "callback for %s raised", client.getpeername())
            if connection.stage < OPEN:  # it was onrequest
                connection.answer(Response(500, "internal error\n"))
            connection.close(CloseCode.INTERNAL_ERROR, "internal error")
            self.onerror(client, error)
        except BaseException as another:
            with suppress(BaseException):  # there is no memory left to complain with
                self._warnings.error(another, "onerror raised")

    def disposed(self, connection: Connection) -> None:
        self.metrics.ended(connection)
        self.lifecycle.check()

    # The steps of a shutdown

    def refuse_newcomers(self) -> None:
        for listener in self._listeners:
            listener.close()

    def is_empty(self) -> bool:
        return not len(self.admission) and not self._finishing

    def say_goodbye(self) -> None:
        for connection in self.admission.connections:
            if connection.stage < OPEN:
                connection.answer(Response(503, f"{REASON}\n"))
            connection.close(CloseCode.GOING_AWAY, REASON)
            # Nothing can come that TCP would have to be reset for, so the peer's end can be missed
            if connection.client.close_received is not None or not connection.bytes_in:
                connection.finish()  # defence: goodbye-finish

    def cut_everybody(self) -> None:
        for connection in self.admission.connections:
            connection.abandon("server shut down")

    def release(self, timeout: float) -> None:
        try:
            self._release(timeout)
        finally:
            self.threads.stop()
            _running.discard(self)

    def orphan(self) -> None:
        """Let go of all, because this is a forked child. The parent serves on. Takes no lock."""
        for part in (self.admission, self.metrics, self.overload.budget):
            part.lock = threading.RLock()  # another thread may have held it
        self._lock = threading.Lock()
        self.lifecycle.orphan()
        self.threads.orphan()  # first, so that nothing is taken out of the poller that both share
        self.refuse_newcomers()
        self.rooms.orphan()
        for connection in self.admission.connections:
            connection.orphan()
            self.admission.leave(connection)

    def locks(self) -> Iterator[Any]:
        yield from (*self._locks, self.metrics.lock, self.admission.lock, self.rooms.lock)
        yield self.overload.budget.lock
        for connection in self.admission.connections:
            yield connection.outbox.lock


def _prepare(client: Client) -> None:
    client.setblocking(False)
    if client.family != getattr(socket, "AF_UNIX", None):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _ignore(*arguments: Any) -> None:
    """Stand in for a callback."""


_running: weakref.WeakSet[Service] = weakref.WeakSet()


def _after_fork() -> None:
    for service in list(_running):
        service.orphan()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)  # defence: server-fork

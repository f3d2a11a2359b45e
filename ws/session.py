"""`Session`: a client's life, over all its connections. It owns them, and calls the callbacks."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from typing import Any, Callable

from .connect import Dialler
from .engine import shared
from .engine.client import BlockingConnection, ClientConnection
from .engine.connection import CLOSED, Connection, Owner
from .engine.limits import Limits
from .engine.log import Warnings, escaped, logger
from .engine.loop import Source
from .engine.overload import Overload
from .engine.sockets import Client
from .wire.frames import CloseCode
from .wire.http11 import Request
from .wire.opening import HandshakeRefused, ServerResponse

FIRST_RETRY_SECONDS = 1.0
"""Upper bound of the first pause. Each further one is twice as long, up to the next constant."""
LONGEST_RETRY_SECONDS = 60.0
STABLE_SECONDS = 10.0
"""After a connection that lasted this long, the pauses begin anew."""
FINAL = (401, 403, 404)
"""Answers after which trying again is of no use."""

NEW, RUNNING, ENDED = 0, 1, 2

_warnings = Warnings()  # of all clients, so that thousands together log little


class Session(Owner, Source, shared.Member):
    """A client's life: it connects, is open, perhaps connects again, and has ended.

    Args:
        dialler: Makes the connections.
        limits: The limits on sizes and times.
        reconnect: Whether to connect again when a connection fails or ends.
    """

    def __init__(self, dialler: Dialler, limits: Limits, reconnect: bool) -> None:
        super().__init__()
        self.onopen: Callable[[], Any] | None = None
        self.onmessage: Callable[[Any], Any] | None = None
        self.onclose: Callable[[], Any] | None = None
        self.onerror: Callable[[BaseException], Any] | None = None
        self.connection: ClientConnection | None = None
        """The current or the last connection."""
        self.client: Client | type[Client] = Client
        """Its socket, or something with the same defaults."""
        self.response: ServerResponse | None = None
        """The last response to a handshake."""
        self.error: BaseException | None = None
        """Why it ended, if a handshake was refused for good."""
        self.unsent: int = 0
        """Bytes that were accepted, but not sent when the last connection ended."""
        self.state: int = NEW
        self.engine: shared.Engine
        self.overload: Overload = Overload(limits, _warnings.warn)
        self._dialler, self._limits, self._reconnect = dialler, limits, reconnect
        self._closing = False  # no further connection is to be made
        self._failures = 0  # in a row
        self._opened_at = 0.0
        self._lock = threading.Lock()  # guards state, connection and _closing
        self._ended = threading.Lock()  # held while it runs

    @property
    def blocking(self) -> bool:
        """Whether messages are taken by `recv`: there is no callback."""
        return not (self.onopen or self.onmessage or self.onclose or self.onerror)

    def start(self) -> None:
        """Connect; with *reconnect*, in the background.

        Raises:
            RuntimeError: It was started before.
        """
        with self._lock:
            if self.state != NEW or self._closing:
                raise RuntimeError("a client runs once: make a new WSClient")
            self.state = RUNNING
            self._ended.acquire()
        try:
            self.engine = shared.join(self)
            self.overload.run(self.engine.loop)
            if self._reconnect:
                self.engine.call(self._attempt)
            else:
                self._connect()
                if self.connection is None:
                    raise ConnectionAbortedError("the client was closed meanwhile")
        except BaseException:
            self.close(CloseCode.GOING_AWAY, "")  # there is a connection after Ctrl-C
            raise

    def _connect(self) -> None:
        dialled = self._dialler.dial(self._limits.open_timeout)
        client = dialled.client
        engine, blocking = self.engine, self.blocking
        make = BlockingConnection if blocking else ClientConnection
        batch = engine.batch if blocking else engine.threads.batch
        with self._lock:
            if self._closing:
                client.close()
                return
            connection = make(client, engine.loop, batch, self._limits, self)
            self.connection, self.client, self.response = connection, client, dialled.response
        client.attach(client.getpeername(), connection.cut)
        self._opened_at = time.monotonic()
        connection.start(dialled.rest, dialled.deflate)

    def _attempt(self) -> None:
        """Connect in the background; if that fails, try again later."""
        try:
            if not self._closing:
                self._connect()
        except BaseException as error:
            status = error.response.status if isinstance(error, HandshakeRefused) else 0
            if status in FINAL or not isinstance(error, (OSError, HandshakeRefused)):
                self.error = error
            _warnings.warn("can't connect to %s: %s", self._dialler.url, escaped(str(error)))
            self._report(error)
            self._go_on()

    def _go_on(self) -> None:
        """After the end of a connection, connect again later, or end."""
        with self._lock:
            if self._reconnect and not self._closing and self.error is None:
                if self._opened_at and time.monotonic() - self._opened_at >= STABLE_SECONDS:
                    self._failures = 0
                self._opened_at = 0.0
                bound = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0**self._failures)
                self._failures = min(self._failures + 1, 16)
                # So that many clients don't come together; defence: retry-pause
                pause = random.uniform(0, bound)
                self.engine.loop.schedule(self, time.monotonic() + pause)
                return
        self._end()

    def on_deadline(self, now: float) -> None:
        self.engine.call(self._attempt)

    def on_fault(self) -> None:
        """Try again soon: the system couldn't start a thread."""
        self.engine.loop.schedule(self, time.monotonic() + FIRST_RETRY_SECONDS)

    def _end(self) -> None:
        with self._lock:
            if self.state != RUNNING:
                return
            self.state = ENDED
            self._ended.release()
        engine = getattr(self, "engine", None)
        if engine is not None:
            if self._reconnect:
                engine.loop.schedule(self, None)
            if self.connection is None or self.connection.stage == CLOSED:
                engine.remove(self)

    # Ending

    def close(self, code: int, reason: str) -> bool:
        """Begin the end. Return False if there is no open connection."""
        with self._lock:
            self._closing = True
            connection = self.connection
        if connection is None or connection.ended:
            self._end()
            return False
        return connection.close(code, reason)

    def join(self, timeout: float) -> None:
        """Wait for the end, without limit if *timeout* is -1. Don't wait inside a callback."""
        if self.state == RUNNING and not self.engine.threads.inside():
            if isinstance(self.connection, BlockingConnection) and timeout >= 0:
                deadline = time.monotonic() + timeout
                self.connection.await_end(deadline)
                timeout = max(0.0, deadline - time.monotonic())
            if self._ended.acquire(timeout=timeout if timeout < 0 else min(timeout, 3600)):
                self._ended.release()

    def cut(self) -> None:
        """End the connection at once."""
        if self.connection is not None:
            self.connection.abandon("client shut down")

    def say_goodbye(self) -> None:
        self.close(CloseCode.GOING_AWAY, "")

    def orphan(self) -> None:
        self.state, self._closing = ENDED, True
        self._lock, self._ended = threading.Lock(), threading.Lock()
        self.overload.budget.lock = threading.RLock()
        if self.connection is not None:
            self.connection.orphan()

    # What a connection asks of its owner

    def message(self, _: Any, message: Any) -> None:
        if self.onmessage:
            self.onmessage(message)

    def request(self, connection: Connection, request: Request) -> None:
        """Not asked: the request was ours."""

    def decide(self, connection: Connection, request: Request) -> None:
        """Not asked, either."""

    def opened(self, connection: Connection) -> None:
        if self.onopen:
            self.onopen()

    def leaving(self, connection: Connection, code: int, reason: str) -> None:
        client, outbox = connection.client, connection.outbox
        self.unsent = max(0, (outbox.lost or outbox.queued) - outbox.close_size)
        client.close_code, client.close_reason = code, reason
        if self.unsent:
            logger.warning(
                "%s: the connection ended with %d bytes unsent", self._dialler.url, self.unsent
            )

    def left(self, connection: Connection) -> None:
        try:
            if connection.opened and self.onclose:
                self.onclose()
        finally:
            self._go_on()

    def failed(self, connection: Connection, error: BaseException) -> None:
        logger.error("callback for %s raised", self._dialler.url, exc_info=error)
        connection.close(CloseCode.INTERNAL_ERROR, "internal error")
        self._report(error)

    def _report(self, error: BaseException) -> None:
        try:
            if self.onerror:
                self.onerror(error)
        except BaseException:
            with suppress(BaseException):  # there is no memory left to complain with
                logger.exception("onerror raised")

    def disposed(self, connection: Connection) -> None:
        if self.state == ENDED:
            self.engine.remove(self)

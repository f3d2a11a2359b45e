"""Connections to servers, once the opening handshake is complete.

With callbacks, the leader reads, as for a server (`ClientConnection`). Without, the thread that
waits for a message reads itself, so that nothing is handed from thread to thread
(`BlockingConnection`). While no thread waits for a message, the leader reads instead, so that pings
are answered, up to a bounded number of messages.
"""

from __future__ import annotations

import select
import threading
import time
from contextlib import suppress
from itertools import chain
from typing import Any, Iterator

from ..wire.deflate import Deflate
from ..wire.events import CLOSE, LAST_MESSAGE, PROTOCOL_ERROR, YIELD_TURN, Event
from ..wire.protocol import ClientProtocol, Protocol
from .connection import AWAITING_REQUEST, CLOSED, LINGERING, OPEN, Connection
from .loop import LONGEST_POLL_SECONDS, Source
from .poll import READ, WRITE
from .shares import Share
from .threads import TURN_EVENTS

READ_AHEAD = 16
"""When this many messages wait for `receive`, nothing more is read."""
READ_AHEAD_SIZE = 1 << 16
"""Characters or bytes. When the messages that wait have more, nothing more is read."""
HAND_OVER_SECONDS = 0.1
"""If no thread has called `receive` for about this long, the leader reads."""
GRACE_SECONDS = 1.0
"""When the leader finds that the connection is to end, it leaves that to `receive` for this long,
so that the program can still reply to the messages before."""


def wait_for(descriptor: int, mask: int, timeout: float) -> bool:
    """Wait up to *timeout* seconds until a descriptor is ready. Return whether it is."""
    timeout = max(0.0, min(timeout, LONGEST_POLL_SECONDS))
    if not hasattr(select, "poll"):  # Windows
        reading, writing = [descriptor] * bool(mask & READ), [descriptor] * bool(mask & WRITE)
        return any(select.select(reading, writing, writing, timeout))
    poll = select.poll()
    poll.register(
        descriptor, (select.POLLIN if mask & READ else 0) | (select.POLLOUT if mask & WRITE else 0)
    )
    return bool(poll.poll(timeout * 1000))  # rounded up


class ClientConnection(Connection):
    """A connection to a server, with callbacks. It begins with `start`."""

    __slots__ = ()

    role: type[Protocol] = ClientProtocol
    ends_tcp_first = False

    def __repr__(self) -> str:
        return f"<connection to {self.client.getpeername()}>"

    def start(self, rest: bytes, deflate: Deflate | None) -> None:
        """Take messages from now on, and have them handled.

        Args:
            rest: The bytes after the server's response.
            deflate: The extension for compression, if it was agreed on.
        """
        self.share: Share = Share()
        self.stage: int = AWAITING_REQUEST  # also over TLS, whose handshake is over
        self.open(b"", deflate)
        self.continue_after(rest)

    @property
    def ended(self) -> bool:
        """Whether the owner was told that it has ended."""
        return self._left or self.stage == CLOSED


class BlockingConnection(ClientConnection):
    """A connection to a server, whose messages are taken by `receive`."""

    __slots__ = (
        "_ending _handing_over _hand_over _messages _parsed _reading _received _seen _size".split()
    )
    messages_in: int

    def start(self, rest: bytes, deflate: Deflate | None) -> None:
        self._reading = threading.Lock()  # held by the thread that reads and parses
        self._messages: list[Any] = []  # that wait for `receive`
        self._size = 0  # characters and bytes in them
        self._received = self._seen = 0  # calls of `receive`: all, and those at the last check
        self._ending = False  # whether the end of the connection waits for `receive`
        self._handing_over = False  # whether the next check is scheduled
        self._hand_over = _HandOver(self)
        self.opened = True
        self._reader = None
        self.stage = AWAITING_REQUEST
        self.open(b"", deflate)
        self._parsed: Iterator[Event] | None = self.protocol.feed(rest)
        self._hand_over_soon()

    def receive(self, timeout: float | None) -> Any:
        """Return the next message, or None when the connection has ended.

        Raises:
            TimeoutError: No message has come within *timeout* seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        looked = False
        reading = self._reading
        if not reading.acquire(False):  # another thread waits for a message
            patience = -1 if timeout is None else max(0.0, min(timeout, threading.TIMEOUT_MAX))
            if not reading.acquire(timeout=patience):
                raise TimeoutError(f"no message within {timeout:g} s")
        try:
            if self.interest & READ:
                self._loop.watch(self, remove=READ)
            if self._messages:
                message = self._messages.pop(0)
                self._size -= len(message)
                return message
            self._ending = False
            while True:
                for event in self._parsed or ():
                    if event[0] <= LAST_MESSAGE:
                        self.messages_in += 1
                        return event[1]
                    if event[0] != YIELD_TURN:
                        self.handle(event)
                self._parsed = None
                if self.ended:
                    if self.stage == LINGERING:
                        super().on_readable()  # the end of TCP may be there, too
                    return None
                left = LONGEST_POLL_SECONDS if deadline is None else deadline - time.monotonic()
                if left <= 0 and looked:  # even if something comes all the time
                    raise TimeoutError(f"no message within {timeout:g} s")
                looked = True
                if wait_for(self.client.fileno(), READ, left):
                    self._parsed = super().on_readable()
        finally:
            self._received += 1
            reading.release()
            if self.stage >= LINGERING:
                self._loop.watch(self, add=READ)
            elif not self._handing_over:
                self._hand_over_soon()

    # Reading: the leader, while no thread is in `receive`

    def _hand_over_soon(self) -> None:
        """Have the leader read soon, unless `receive` is called again. The caller doesn't read."""
        if not self._handing_over:
            self._handing_over = True
            self._loop.schedule(self._hand_over, time.monotonic() + HAND_OVER_SECONDS)

    def take_over(self) -> None:
        """Read, unless `receive` was called lately. The leader calls it."""
        self._handing_over = False
        if self._received == self._seen:
            self.on_readable(ahead=not self._ending)
        else:
            self._seen = self._received
            self._hand_over_soon()

    def on_readable(self, ahead: bool = True) -> None:
        # Otherwise a thread is in `receive`, and hands over at its end.
        if self._reading.acquire(False):
            try:
                self._ending = self._ending and ahead
                self._read_ahead(ahead)
            finally:
                self._reading.release()
        else:
            self._loop.watch(self, remove=READ)

    def _read_ahead(self, ahead: bool = True) -> None:
        """Read and parse what has come, until enough messages wait. The caller may read.

        Args:
            ahead: Whether to leave the end of the connection to `receive`, for a while.
        """
        if self._parsed is None and not self.paused and self.stage < CLOSED:
            self._parsed = super().on_readable()
        for _ in range(TURN_EVENTS):
            if self._parsed is None or self.paused:
                break
            event = next(self._parsed, None)
            if event is None:
                self._parsed = None
            elif event[0] <= LAST_MESSAGE:
                self.messages_in += 1
                self._messages.append(event[1])
                self._size += len(event[1])
            elif ahead and event[0] in (CLOSE, PROTOCOL_ERROR) and self.stage == OPEN:
                self._parsed, self._ending = chain((event,), self._parsed), True
                self._loop.schedule(self._hand_over, time.monotonic() + GRACE_SECONDS)
            elif event[0] != YIELD_TURN:
                self.handle(event)
        else:  # other clients have their turn
            self._loop.schedule(self._hand_over, 0)
        if self.paused:
            self._loop.watch(self, remove=READ)
        else:
            self._loop.watch(self, add=READ)

    @property
    def paused(self) -> bool:
        """Whether enough messages wait for `receive`. After `close`, the rest is dropped."""
        # defence: client-inbox
        full = len(self._messages) >= READ_AHEAD or self._size > READ_AHEAD_SIZE
        return (full or self._ending) and self.stage == OPEN

    def orphan(self) -> None:
        super().orphan()
        self._reading = threading.Lock()
        self._parsed = None
        self._messages.clear()

    # What the leader reads the answer to

    def ping(self) -> bool:
        sent = super().ping()
        self._loop.watch(self, add=READ)
        return sent

    def close(self, code: int, reason: str) -> bool:
        closing = super().close(code, reason)
        self._hand_over_soon()  # if nobody calls `await_end`
        return closing

    def await_end(self, deadline: float) -> None:
        """Read until the connection has ended, or *deadline* has passed. Messages are dropped.

        So the thread that has called `close` needn't wait for the leader.
        """
        with suppress(TimeoutError):
            while not self.ended and time.monotonic() < deadline:
                self.receive(deadline - time.monotonic())

    def abandon(self, reason: str) -> None:
        self.cut(reason)
        self._loop.watch(self, add=READ)


class _HandOver(Source):
    """Has the leader look, a moment after the last call of `receive`, whether it should read."""

    __slots__ = ("_connection",)

    def __init__(self, connection: BlockingConnection) -> None:
        super().__init__()
        self._connection = connection

    def on_deadline(self, now: float) -> None:
        self._connection.take_over()

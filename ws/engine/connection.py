"""One connection's life: bytes in, events handled, deadlines, and how it ends.

Over 400 lines, because a connection is read together with what it asks of its owner.

Ways to end a connection, and what the peer sees:

    close    the closing handshake begins    a close frame, after what is queued     any thread
    answer   it is refused, or gets a page   an HTTP response, then the end of TCP   any thread
    linger   the closing handshake is over   the end of TCP, after what is queued    any thread
    finish   `linger`, without the peer      nothing new                             leader
    cut      it is lost                      a reset of TCP, at once                 any thread
    abandon  as `cut`, and if reading is paused, unparsed events are dropped         leader, monitor
    dispose  the descriptor is closed        nothing new                             leader, worker

`close` and `linger` have a deadline. When it passes, `close` is followed by `cut`, and `linger` by
`dispose`; but there is more time while the peer takes what is queued fast enough. After `cut`, the
leader reads the end of TCP, which is the event CONNECTION_LOST. Every connection ends with
`dispose`.
"""

from __future__ import annotations

import os
import random
import socket
import ssl
import struct
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from itertools import chain
from sys import getsizeof
from typing import Any, Callable, Iterable, Iterator

from ..wire import events
from ..wire.deflate import Deflate
from ..wire.events import LAST_MESSAGE, Event
from ..wire.frames import PING, PONG, Buffer, CloseCode
from ..wire.http11 import HandshakeError, Request, RequestReader, Response
from ..wire.message import sharable
from ..wire.protocol import Protocol
from .backlog import CHUNK_BYTES, TLS_RECORD_BYTES
from .budget import Holder
from .cork import WriteBatch
from .limits import Limits
from .log import logger
from .loop import Loop
from .outbox import Outbox
from .overload import Overload
from .poll import READ, WRITE
from .sockets import Client, TLSClient

READ_BYTES = 1 << 14  # defence: read-size
"""Bytes that one read asks for. With TLS, a read returns at most one record, of this size."""
USUAL_HEAD_BYTES = 2 << 10
"""What a longer request head has beyond this counts as memory that the client holds."""
HEAD_FACTOR = 2
"""A request takes about so many times its head."""
READ_ON_BYTES = 1 << 18
"""If the first read was full, reading goes on up to this many bytes before they are parsed."""

LEAST_BYTES_PER_SECOND = 1 << 12
"""A peer that takes a page more slowly, or what else is queued at the end, is not waited for."""

# The stages of a connection, in order
TLS_HANDSHAKE = 0
AWAITING_REQUEST = 1  # or deciding on it
OPEN = 2  # accepted as a WebSocket
CLOSING = 3  # the close frame was sent, and nothing may follow it (RFC 6455 §5.5.1)
LINGERING = 4  # sends what is queued, then waits for the peer's end of TCP (§7.1.1)
CLOSED = 5  # the descriptor is closed


class Owner(ABC):
    """The owner of connections. It decides on their requests, and calls the callbacks."""

    overload: Overload
    """Bounds the memory of all connections together."""
    message: Callable[[Client, Any], Any]
    """Called with each message. May block. An attribute, so that a callback is called directly."""

    @abstractmethod
    def request(self, connection: Connection, request: Request) -> None:
        """Check a request. To refuse it, call `connection.answer`. Must not block."""

    @abstractmethod
    def decide(self, connection: Connection, request: Request) -> None:
        """Accept a request by `connection.open`, or refuse it by `answer`. May block."""

    @abstractmethod
    def opened(self, connection: Connection) -> None:
        """Called when the WebSocket is open. May block."""

    @abstractmethod
    def leaving(self, connection: Connection, code: int, reason: str) -> None:
        """Called once when an accepted WebSocket has ended. Must not block."""

    @abstractmethod
    def left(self, connection: Connection) -> None:
        """Called after `leaving`, while TCP is being ended. May block."""

    @abstractmethod
    def failed(self, connection: Connection, error: BaseException) -> None:
        """Called when another method has raised *error*. Must not raise."""

    @abstractmethod
    def disposed(self, connection: Connection) -> None:
        """Called when the descriptor is closed. Must not block."""


class Connection(Holder):
    """A socket with its protocol and its outbox: a client's, as a server has it.

    Only the leader reads. Any thread may write.

    Args:
        client: A non-blocking socket.
        loop: The loop that watches it.
        batch: Collects the leader's writes.
        limits: The limits on sizes and times.
        owner: Decides on requests, and calls the callbacks.
    """

    __slots__ = (
        "_charged _checkpoint _finishing _head _left _limits _loop _moved _parsing _ping _reader "
        "_rest _taken _tls bytes_in client messages_in opened outbox owner protocol reason "
        "refusal stage"
    ).split()

    role: type[Protocol] = Protocol
    """The class of the protocol."""
    ends_tcp_first: bool = True
    """Whether this end is the first to end TCP, as a server is (RFC 6455 §7.1.1)."""

    def __init__(
        self, client: Client, loop: Loop, batch: WriteBatch, limits: Limits, owner: Owner
    ) -> None:
        super().__init__()
        self.client: Client = client
        self.owner: Owner = owner
        self._loop, self._limits = loop, limits
        self._tls = isinstance(client, TLSClient)
        self.stage: int = TLS_HANDSHAKE if self._tls else AWAITING_REQUEST
        self.protocol: Protocol = self.role(limits.max_message_size, limits.max_fragments)
        self.outbox: Outbox = Outbox(
            *(client, self, loop, batch, owner.overload),
            *(limits.max_queue_size, limits.send_timeout, self.cut),
        )
        self.bytes_in: int = 0
        self.messages_in: int = 0
        self.opened: bool = False
        """Whether the owner was told that the WebSocket is open."""
        self.reason: str = ""
        """Why it was cut, if it was."""
        self.refusal: HandshakeError | None = None
        """The refusal to answer its request with, if it was refused before the request came."""
        self._left = False  # whether the owner was told that the WebSocket has ended
        self._reader: RequestReader | None = RequestReader(limits.max_head_size)
        self._rest = b""  # what came after the request's head, until it is parsed
        self._ping: Any = None  # payload and time of the last ping, until its pong
        self._head = 0  # bytes that its request takes
        self._parsing = 0  # bytes of what isn't parsed yet, at the end of the last turn
        self._charged = 0  # bytes of what it has read, as the budget counts them
        self._moved = 0.0  # when that was charged
        self._checkpoint: Any = None  # bytes in and out at the last ping; whether it was sent
        self._taken: int | None = None  # how much the peer had taken, if more is to be written
        self._finishing = False  # whether to end TCP when all is written

    def __repr__(self) -> str:
        return f"<connection from {self.client.getpeername()}>"

    def fileno(self) -> int:
        return self.client.fileno()

    @property
    def paused(self) -> bool:
        """Whether it isn't read, because its callbacks are behind."""
        return not self.interest & READ

    # How it begins: one of these, once

    def await_request(self) -> None:
        """Read from now on. The request's head comes first.

        Raises:
            OSError: The system can't watch one more descriptor. This connection never was.
        """
        self._loop.watch(self, READ)
        deadline = time.monotonic() + self._limits.open_timeout
        self._loop.schedule(self, deadline)  # defence: open-timeout

    def continue_after(self, rest: bytes) -> None:
        """Read from now on. The request was decided on elsewhere; *rest* came after its head.

        Any thread may call it: the socket isn't watched until *rest* is parsed, so that nothing
        can be parsed before it.
        """
        self._reader = None
        self.bytes_in += len(rest)
        self.events = self._begin(rest)
        self._loop.resume(self)

    # Reading: the leader

    def on_readable(self) -> Iterator[Event] | None:
        if self.protocol.holding and self.owner.overload.is_paused(self):
            return None
        try:
            if not self._tls:
                data = self.client.recv(READ_BYTES)
            elif self.stage == TLS_HANDSHAKE:
                self._shake_hands()
                return None
            elif self.stage == LINGERING:
                data = self._read_rest()
            else:
                data = self._read_tls()
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except (OSError, ValueError):
            data = b""
        if data:
            self.bytes_in += len(data)
            if OPEN <= self.stage <= CLOSING:
                if len(data) == READ_BYTES and not self.owner.overload.pressed:
                    return self._read_on(data)
                return self.protocol.feed(data)
            return self._read_head(data) if self.stage == AWAITING_REQUEST else None
        if OPEN <= self.stage <= CLOSING:
            self._loop.watch(self, remove=READ)  # defence: end-of-tcp-watch
            return iter(((events.CONNECTION_LOST, None),))  # defence: end-of-tcp
        if self.stage == LINGERING:
            self.finish(ended=True)
        else:
            self.dispose()
        return None

    def _read_tls(self) -> bytes:
        with self.outbox.lock:  # OpenSSL may not read and write at the same time
            try:
                return self.client.recv(READ_BYTES)
            finally:
                if self.outbox.blocked == READ:
                    self.outbox.flush()

    def _read_on(self, data: bytes) -> Iterator[Event]:
        """Read on, and parse everything together: fewer, larger pieces are faster."""
        pieces, size = [data], TLS_RECORD_BYTES if self._tls else READ_ON_BYTES
        try:
            with self.outbox.lock:
                while len(pieces[-1]) == READ_BYTES and len(pieces) * size <= READ_ON_BYTES:
                    pieces.append(self.client.recv(size))
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except (OSError, ValueError):
            pieces.append(b"")
        self.bytes_in += sum(map(len, pieces[1:]))
        parsed: Iterator[Event] = self.protocol.feed(b"".join(pieces))
        if pieces[-1]:
            return parsed
        return chain(parsed, ((events.CONNECTION_LOST, None),))  # TLS reports its end only once

    def _read_rest(self) -> bytes:
        """Read on a TLS connection that is ending. Return b"" if the peer has ended it."""
        with self.outbox.lock:
            if not self.outbox.waiting:  # our close_notify has been sent
                try:
                    self.client.unwrap()  # type: ignore[attr-defined]
                    return b""  # the peer's has come, too
                except ssl.SSLWantReadError:
                    raise
                except (OSError, ValueError):
                    pass
        # Past OpenSSL: data after close_notify is an error to it
        return socket.socket.recv(self.client, CHUNK_BYTES)

    def _shake_hands(self) -> None:
        """Continue the TLS handshake."""
        self._loop.watch(self, remove=WRITE)
        try:
            self.client.do_handshake()  # type: ignore[attr-defined]
            self.stage = AWAITING_REQUEST
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLWantWriteError:
            self._loop.watch(self, add=WRITE)
        # AttributeError: before Python 3.11.5, ssl makes no TLS object for a peer that has left
        except (OSError, ValueError, AttributeError) as error:
            logger.info("%s: TLS handshake failed: %s", self.client.getpeername(), error)
            self.dispose()  # defence: tls-failure

    def _read_head(self, data: bytes) -> Iterator[Event]:
        """Yield the request when it is complete. If it is accepted, yield the events after it."""
        try:
            complete = self._reader.feed(data) if self._reader else None
        except HandshakeError as error:
            logger.info("%s: %s", self.client.getpeername(), error)
            self.answer(error.response)
            return
        self.protocol.holding = True  # in its place
        if complete is None:
            return
        self._reader = None
        self.client.request, self._rest = complete
        self.client.request.secure = self._tls
        self._head = HEAD_FACTOR * max(0, self.bytes_in - len(self._rest) - USUAL_HEAD_BYTES)
        deadline = time.monotonic() + self._limits.open_timeout
        self._loop.schedule(self, deadline)  # defence: decision-timeout
        yield events.REQUEST, self.client.request
        if self.stage == AWAITING_REQUEST:
            yield events.ASK_ONREQUEST, self.client.request
        rest, self._rest = self._rest, b""
        yield from self._begin(rest)

    def on_early(self) -> None:
        if self.stage == LINGERING:  # answered when there was no decision in time
            self.on_readable()
        if self.stage != AWAITING_REQUEST or self._reader is not None:
            return
        data, left = b"", self.client.request.is_upgrade  # a page can be sent after a half-close
        try:
            # First past OpenSSL, which doesn't write any more when it has found the end of TCP
            if socket.socket.recv(self.client, 1, socket.MSG_PEEK):
                data = self._read_tls() if self._tls else self.client.recv(READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except (OSError, ValueError):
            left = True
        if left and not data:
            with self.outbox.lock:
                if self.stage == AWAITING_REQUEST:  # else a worker has accepted it just now
                    self.dispose()  # defence: early-end
            return
        self._rest += data
        self.settle()
        self.bytes_in += len(data)
        self._loop.watch(self, remove=READ)

    def _begin(self, rest: bytes) -> Iterator[Event]:
        """If the request was accepted, yield that it was, and the events in the bytes after it."""
        if OPEN <= self.stage <= CLOSING:
            yield events.OPENED, None
            yield from self.protocol.feed(rest)

    # Events: any thread, one at a time

    def handle(self, event: Event) -> None:
        kind, payload = event
        try:
            if kind <= LAST_MESSAGE:
                self.messages_in += 1
                if self.stage == OPEN:
                    self.owner.message(self.client, payload)
            elif kind == events.PING:
                self.outbox.put_control(self.protocol.frame(PONG, payload))
            elif kind == events.PONG:
                self._take_pong(payload)
            elif kind == events.REQUEST:
                self.owner.request(self, payload)
            elif kind == events.ASK_ONREQUEST:
                if self.stage == AWAITING_REQUEST:  # else it has left, or waited too long
                    self.owner.decide(self, payload)
            elif kind == events.OPENED:
                self.opened = True
                self.owner.opened(self)
            elif kind == events.CONNECTION_LOST:
                self._leave(CloseCode.ABNORMAL, self.reason)
            else:  # CLOSE or PROTOCOL_ERROR
                if kind == events.CLOSE:
                    self.client.close_received = payload[0]
                self.close(*payload)
                self._leave(*payload)
        # A callback's sys.exit() must not end the thread either; defence: raising-callbacks
        except BaseException as error:
            self.owner.failed(self, error)

    def _leave(self, code: int, reason: str) -> None:
        """Tell the owner, once, that the WebSocket has ended."""
        # A cut during a shutdown may follow a closing handshake; defence: ends-once
        if self._left:
            return
        self._left = True
        try:
            self.owner.leaving(self, code, reason)
            self.linger()
        finally:
            try:
                self.owner.left(self)
            finally:
                if code == CloseCode.ABNORMAL:
                    self.dispose()

    # Accepting and sending: any thread

    def open(self, response: bytes, deflate: Deflate | None) -> bool:
        """Accept with a 101 response. Return False if the connection has ended already."""
        with self.outbox.lock:
            if self.stage != AWAITING_REQUEST:
                return False
            if deflate:
                self.protocol.use(deflate)
            interval = self._limits.ping_interval
            # Random, so that clients who came together are not pinged together
            first = time.monotonic() + interval * random.uniform(0.5, 1) if interval else None
            self._loop.schedule(self, first)
            self.stage = OPEN
            self.outbox.open(response, deflate)
        return True

    def put_fragments(self, frames: Iterable[Buffer], timeout: float) -> bool:
        """Do as `Outbox.put_fragments`. Close if *frames* raises after a part was sent."""
        try:
            return self.outbox.put_fragments(frames, timeout)
        except BaseException:
            if not self.outbox.accepting:
                self.close(CloseCode.INTERNAL_ERROR, "message broken off")
            raise

    def ping(self) -> bool:
        """Send a ping, whose pong sets `client.latency`. Return whether it was sent."""
        payload, last = os.urandom(4), self._ping
        self._ping = payload, time.monotonic()
        sent = self.outbox.put_control(self.protocol.frame(PING, payload))
        if not sent:
            self._ping = last
        return sent

    def _take_pong(self, payload: bytes) -> None:
        if self._ping and self._ping[0] == payload:
            self.client.latency = time.monotonic() - self._ping[1]
            self._ping = None

    # Endings

    def close(self, code: int, reason: str) -> bool:
        """Begin the closing handshake. Return False if it is too late (RFC 6455 §7.1.2)."""
        with self.outbox.lock:
            if self.stage != OPEN:
                return False
            # First, or the deadline of a ping could be taken for this one; defence: close-timeout
            self._loop.schedule(self, time.monotonic() + self._limits.close_timeout)
            self.outbox.close(self.protocol.close(code, reason))
            self._taken = self.outbox.taken() if self.outbox.waiting else None
            self.client.close_sent = code
            self.stage = CLOSING
        return True

    def answer(self, response: Response, method: str = "GET") -> None:
        """Send an HTTP response, then end TCP. Nothing is sent in the TLS handshake."""
        if self.stage == TLS_HANDSHAKE:
            self.dispose()
            return
        with self.outbox.lock:
            if self.stage == AWAITING_REQUEST:  # else it has been answered already
                for piece in response.encode(method):
                    self.outbox.write(sharable(piece))
                self.linger()  # defence: linger
        self.owner.overload.relieve()

    def linger(self) -> None:
        """Write what is queued, end the sending direction, and wait for the peer to end TCP."""
        with self.outbox.lock:
            if self.stage == CLOSED:
                return
            # defence: linger-timeout
            self._loop.schedule(self, time.monotonic() + self._limits.close_timeout)
            self.stage = LINGERING
            self.outbox.end(half_close=self.ends_tcp_first)
            self._taken = self.outbox.taken() if self.outbox.waiting else None

    def finish(self, ended: bool = False) -> None:
        """End TCP as soon as all is written, without waiting for the peer. Only when lingering.

        Args:
            ended: Whether the peer has ended its sending direction. It may read on.
        """
        with self.outbox.lock:
            if self.stage == LINGERING and self.outbox.waiting:
                self._finishing = True
                self._loop.watch(self, remove=READ)
            elif self.stage == LINGERING:
                self.dispose(ended)

    def cut(self, reason: str) -> None:
        """End TCP at once, by a reset. Takes no lock."""
        self.reason = self.reason or reason
        with suppress(OSError):  # it may have ended already
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with suppress(OSError):
            socket.socket.shutdown(self.client, socket.SHUT_RDWR)

    def abandon(self, reason: str) -> None:
        """Cut. If reading is paused, drop the unparsed events, and resume with CONNECTION_LOST."""
        self.cut(reason)
        if OPEN <= self.stage <= CLOSING and not self.interest & READ:
            self.events = iter(((events.CONNECTION_LOST, None),))
            self._loop.resume(self)

    def dispose(self, ended: bool = False) -> None:
        """Close the descriptor, and end TCP unless it has *ended*. No thread may still read."""
        with self.outbox.lock:
            if self.stage == CLOSED:
                return
            self.stage = CLOSED
            self.outbox.dispose()
            self.protocol.end()
            self.events = self._reader = None
            self._head, self._rest = 0, b""
            self._measure()
            self._loop.forget(self)
            if not ended:  # close() doesn't end TCP while a forked child has a copy
                with suppress(OSError):
                    socket.socket.shutdown(self.client, socket.SHUT_RDWR)  # defence: fork-shutdown
            self.client.dispose()
        self.owner.disposed(self)

    def orphan(self) -> None:
        """Drop the descriptor: this is a forked child, and the connection is the parent's."""
        self.outbox.orphan()
        self.stage = CLOSED
        self.client.dispose()  # which isn't the end of TCP

    # Memory

    def end_turn(self) -> bool:
        self._measure()
        self.owner.overload.make_room()
        return self._charged > self._head

    def _measure(self) -> None:
        """Settle, with what isn't parsed yet. Only the thread that reads may ask for that."""
        with self.outbox.lock:  # or a worker could dispose of it meanwhile
            self._parsing = self._reader.held if self._reader else self.protocol.held
            self.settle()

    def settle(self) -> None:
        with self.outbox.lock:
            current, inbox = self.current, self.inbox  # a worker may set both to None
            waiting = [*([current] if current else ()), *(inbox.copy() if inbox else ())]
            messages = sum([getsizeof(payload) for _, payload in waiting])
            held = self._head + self._parsing + len(self._rest) + messages
            if held != self._charged:
                self.owner.overload.budget.charge(self, held - self._charged)
                self._charged = held
            self._moved = time.monotonic()

    def moved(self) -> float:
        return self._moved if self._charged >= self.held // 2 else self.outbox.moved()

    def pause(self, paused: bool) -> None:
        if paused:
            self._loop.watch(self, remove=READ)
        elif self.events is None:  # else it is read again when they are parsed
            self._loop.watch(self, add=READ)

    def shed(self, reason: str) -> None:
        self.cut(reason)
        if self.outbox.lock.acquire(blocking=False):  # else its holder finds out
            try:
                self.outbox.dispose()
            finally:
                self.outbox.lock.release()

    def free(self) -> None:
        self.protocol.end()
        self._reader = None
        if not OPEN <= self.stage <= CLOSING:
            self.pause(False)
        elif self.events is not None or not self.interest & READ:
            self.events = iter(((events.CONNECTION_LOST, None),))
            self._loop.resume(self)
        self._measure()

    def on_fault(self) -> None:
        if OPEN <= self.stage <= CLOSING:
            self.abandon("internal error")
        else:
            self.dispose()

    def on_writable(self) -> None:
        if self.stage == TLS_HANDSHAKE:
            self._shake_hands()
            return
        with self.outbox.lock:  # defence: lock-of-reading
            self.outbox.flush()
        if self._finishing and not self.outbox.waiting:
            self.dispose()

    # Deadlines: the leader

    def on_deadline(self, now: float) -> None:
        if self.stage >= CLOSING and self._is_taking(now):
            pass
        elif self.stage == AWAITING_REQUEST and self._reader is None:
            self.answer(Response(503, "no decision in time\n"), self.client.request.method)
        elif not OPEN <= self.stage <= CLOSING:
            self.dispose()
        elif self.stage == CLOSING:
            unsent = self.outbox.closing
            late = "fragmented message not ended" if unsent else "close frame not answered"
            self.cut(f"{late} in time")
        elif self._checkpoint is None:
            if self._limits.ping_interval:  # else it was opened just as it waited too long
                self._begin_keepalive(now)
        else:
            self._end_keepalive(now)

    def _is_taking(self, now: float) -> bool:
        """Say whether the peer takes what is to be written fast enough; then give it more time."""
        before, taken = self._taken, self.outbox.taken()
        timeout = self._limits.close_timeout
        if before is None or (
            self.outbox.waiting
            and taken - before < LEAST_BYTES_PER_SECOND * timeout  # defence: linger-rate
        ):
            return False
        self._taken = taken if self.outbox.waiting else None
        self._loop.schedule(self, now + timeout)
        return True

    def _begin_keepalive(self, now: float) -> None:
        """Send a ping. Data must arrive, or queued data leave, within `ping_timeout` (§5.5.2)."""
        bytes_in = self.bytes_in  # first: another thread may read the pong at once
        sent = self.ping()
        self._checkpoint = bytes_in, self.outbox.taken(), sent
        self._loop.schedule(self, now + self._limits.ping_timeout)  # defence: ping-timeout

    def _end_keepalive(self, now: float) -> None:
        bytes_in, taken, pinged = self._checkpoint
        self._checkpoint = None
        heard = self.bytes_in > bytes_in or self.paused
        queued, taken_now = self.outbox.waiting, self.outbox.taken()
        if queued and taken_now <= taken:
            self.cut("nothing could be written to it in time")
        elif heard or queued or taken < taken_now < self.outbox.bytes_out:  # or the ping is to come
            interval = self._limits.ping_interval or 0
            self._loop.schedule(self, now + max(0, interval - self._limits.ping_timeout))
        elif not pinged:  # too much was queued
            self._begin_keepalive(now)
        else:
            self.cut("keepalive ping not answered in time")  # defence: unanswered-ping

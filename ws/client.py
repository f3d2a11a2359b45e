"""A client: a socket, with its protocol and its outbound queue."""

from __future__ import annotations

import logging
import os
import random
import socket
import ssl
import struct
import threading
import time
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator

from .deflate import Deflate, Outgoing
from .frames import FIN, INTERNAL_ERROR, PING, Buffer, frame
from .handshake import HandshakeError, Head, Request, Response
from .limits import Limits
from .loop import DECIDE, GONE, LONGEST_POLL, OPENED, REQUEST, Loop, Source
from .poll import READ, WRITE
from .protocol import Event, Protocol

CHUNK = 1 << 16
"""Bytes that one system call writes, out of several frames."""
RECORD = 1 << 14  # defence: read-size
"""Bytes that one system call reads; TLS gives no more."""
READ_SIZE = 1 << 18
"""Bytes that are read at most behind a full RECORD."""

logger = logging.getLogger("ws")

if TYPE_CHECKING:
    _Socket = socket.socket
else:
    _Socket = object


# Where a connection is in its life
TLS = 0  # in the TLS handshake
HEAD = 1  # its request is awaited, or being decided on
OPEN = 2  # accepted as a WebSocket
CLOSING = 3  # the same, but the close frame was sent, so nothing else may be (RFC 6455 §5.5.1)
LINGER = 4  # closed, but not yet by the peer's TCP (RFC 6455 §7.1.1)
DEAD = 5  # the descriptor is closed


class Client(_Socket):
    """A client, as callbacks get it: a socket, plain or TLS.

    Use `WSServer.send` and `WSServer.close`: this socket's own `send` goes past the framing,
    and its own `close` cuts the connection without a closing handshake.
    """

    request: Request
    """What the client asked for."""
    subprotocol: str | None = None
    """The subprotocol agreed on, if any (RFC 6455 §1.9)."""
    latency: float | None = None
    """Seconds that the last ping took to come back; None before."""
    close_code: int | None = None
    """Why the client left, see RFC 6455 §7.4: set when `onclose` is called, None before."""
    close_reason: str = ""
    """The reason that came with the code, or what the server noticed."""
    _connection: Connection
    _address: Any

    @property
    def data(self) -> dict[Any, Any]:
        """A dict for whatever you want to keep with the client; the same as `request.data`."""
        return self.request.data

    def getpeername(self) -> Any:
        """Return the peer's address; works after it has gone, too."""
        return self._address if "_address" in self.__dict__ else super().getpeername()

    def close(self) -> None:
        """Cut the connection; `onclose` follows."""
        connection = self.__dict__.get("_connection")
        if connection is None or connection.stage == DEAD:
            super().close()
        else:
            connection.cut("closed as a socket")


class PlainClient(Client, socket.socket):
    """A client on a plain socket."""


class TLSClient(Client, ssl.SSLSocket):
    """A client on a TLS socket."""


class Connection(Source):
    """What the server keeps for a client: its stage, its protocol, and what waits to be sent.

    dropped(connection): called once the descriptor is closed.
    The leader alone reads. Anyone may write: `lock` guards the queue, and is held only for
    system calls that don't block, so whoever needs it gets it.
    """

    __slots__ = (
        "_blocked _checkpoint _dropped _head _held _held_size _ping _queue _space _tls "
        "bytes_in bytes_out client deflate limits lock loop messages_in messages_out "
        "protocol queued reason refusal stage"
    ).split()

    def __init__(
        self, client: Client, loop: Loop, limits: Limits, dropped: Callable[[Connection], None]
    ) -> None:
        super().__init__()
        self.client, self.loop, self.limits, self._dropped = client, loop, limits, dropped
        self._tls = isinstance(client, TLSClient)
        self.stage = TLS if self._tls else HEAD
        self.protocol = Protocol(limits.max_message_size, limits.max_fragments)
        self.lock = threading.Lock()
        self.queued = 0  # bytes in _queue and _held
        self.bytes_in = self.bytes_out = self.messages_in = self.messages_out = 0
        self.reason = ""  # why it was cut, if it was
        self.deflate: Deflate | None = None  # the extension, if agreed on
        self.refusal: HandshakeError | None = None  # decided on before the request was read
        self._head: Head | None = Head(limits.max_head_size)
        self._queue: list[Buffer] = []
        self._blocked = False  # the socket takes no more: the loop tells when it does
        self._space: threading.Condition | None = None  # made when a `send` has to wait
        self._held: list[bytes] | None = None  # what waits for a fragmented message to end
        self._held_size = 0
        self._ping: Any = None  # payload and time of the last ping, until its pong
        self._checkpoint: Any = None  # bytes in and out at the last keepalive ping
        loop.poll(self, READ)  # if it raises, this connection never was
        loop.schedule(self, time.monotonic() + limits.open_timeout)  # defence: open-timeout
        client._connection = self

    def __repr__(self) -> str:
        return f"<connection from {self.client.getpeername()}>"

    def fileno(self) -> int:
        return self.client.fileno()

    # Reading: the leader

    def on_readable(self) -> Iterator[Event] | None:
        try:
            if not self._tls:
                data = self.client.recv(RECORD)
            elif self.stage == TLS:
                self._shake_hands()
                return None
            elif self.stage == LINGER:  # past OpenSSL, which takes more data now for an attack
                data = socket.socket.recv(self.client, CHUNK)
            else:
                with self.lock:
                    data = self.client.recv(RECORD)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except (OSError, ValueError):
            data = b""
        if data:
            self.bytes_in += len(data)
            if OPEN <= self.stage <= CLOSING:
                return self._read_on(data) if len(data) == RECORD else self.protocol.feed(data)
            return self._read_head(data) if self.stage == HEAD else None
        if OPEN <= self.stage <= CLOSING:
            self.loop.poll(self, remove=READ | WRITE)  # defence: end-of-tcp-watch
            return iter(((GONE, None),))  # defence: end-of-tcp
        self.drop(ended=self.stage == LINGER and not self._queue)
        return None

    def _read_on(self, data: bytes) -> Iterator[Event]:
        """Feed *data* and what more has come: few large pieces are parsed faster."""
        pieces, size = [data], RECORD if self._tls else READ_SIZE
        try:
            with self.lock:
                while len(pieces[-1]) == RECORD and len(pieces) * size <= READ_SIZE:
                    pieces.append(self.client.recv(size))
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except (OSError, ValueError):
            pieces.append(b"")
        self.bytes_in += sum(map(len, pieces[1:]))
        events = self.protocol.feed(b"".join(pieces))
        return events if pieces[-1] else chain(events, ((GONE, None),))  # TLS ends only once

    def _shake_hands(self) -> None:
        """Go on with the TLS handshake."""
        self.loop.poll(self, remove=WRITE)
        try:
            self.client.do_handshake()  # type: ignore[attr-defined]
            self.stage = HEAD
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLWantWriteError:
            self.loop.poll(self, add=WRITE)
        except (OSError, ValueError) as error:
            logger.info("%s: TLS handshake failed: %s", self.client.getpeername(), error)
            self.drop()  # defence: tls-failure

    def _read_head(self, data: bytes) -> Iterator[Event]:
        """Yield the request once it is complete; if it is accepted, what came behind it."""
        try:
            complete = self._head.feed(data) if self._head else None
        except HandshakeError as error:
            logger.info("%s: %s", self.client.getpeername(), error)
            self.answer(error.response)
            return
        if complete is None:
            return
        self._head = None
        self.client.request, rest = complete
        self.client.request.secure = self._tls
        self.loop.schedule(self, None)
        yield REQUEST, self.client.request
        if self.stage == HEAD:
            yield DECIDE, self.client.request
        if OPEN <= self.stage <= CLOSING:
            yield OPENED, None
            yield from self.protocol.feed(rest)

    # Writing: any thread

    def send(self, data: bytes, wait: float, *, fragment: bool = False, messages: int = 1) -> bool:
        """Queue frames, of so many messages, and write what the socket takes; say if accepted.

        At `max_queue_size`, wait up to *wait* seconds for room; after that, or at once without
        *wait* if `slow_client` is 'close', cut the connection.
        """
        with self.lock:  # defence: lock-of-sending
            if self.stage != OPEN:
                return False
            if self.queued + len(data) > self.limits.max_queue_size:
                if not self._has_room(len(data), wait, fragment):
                    return False
            self.messages_out += messages
            if self._held is None or fragment:
                if self._queue and self.loop.more and self.queued + len(data) < CHUNK:  # corked
                    self._queue.append(data)
                    self.queued += len(data)
                else:
                    self._push(data)
            else:
                self._held.append(data)
                self._held_size += len(data)
                self.queued += len(data)
            return True

    def send_message(self, message: Outgoing, wait: float) -> bool:
        """Do as `send` for a client with compression."""
        assert self.deflate
        return message.send(self.deflate, lambda data: self.send(data, wait))

    def send_fragments(self, frames: Iterable[bytes], wait: float) -> bool:
        """Send the frames of one message as they come; other messages wait until its end."""
        with self.lock:
            first = self._held is None
            if first:
                self._held = []
        if not first:
            return self.send(b"".join(frames), wait)
        accepted = False
        try:
            for data in frames:
                accepted = self.send(data, wait, fragment=True, messages=data[0] >= FIN)
                if not accepted:
                    break
            return accepted
        except BaseException:
            if accepted:  # half a message has left: it can't be taken back
                self.close(INTERNAL_ERROR, "message broken off")
            raise
        finally:
            with self.lock:
                held, self._held = self._held or [], None
                self.queued -= self._held_size
                self._held_size = 0
                for data in held:
                    if self.stage == OPEN:
                        self._push(data)

    def send_control(self, opcode: int, payload: bytes) -> bool:
        """Send a ping or pong, unless much is queued; never waits (RFC 6455 §5.5)."""
        with self.lock:  # defence: lock-of-control
            # no need to answer each (§5.5.3); defence: unread-pongs
            if self.stage != OPEN or self.queued > CHUNK:
                return False
            self._push(frame(opcode, payload))
            return True

    def ping(self) -> bool:
        """Send a ping whose pong sets `client.latency`."""
        payload = os.urandom(4)
        self._ping = payload, time.monotonic()
        return self.send_control(PING, payload)

    def on_pong(self, payload: bytes) -> None:
        if self._ping and self._ping[0] == payload:
            self.client.latency = time.monotonic() - self._ping[1]
            self._ping = None

    def close(self, code: int, reason: str) -> bool:
        """Start the closing handshake; False if that is no longer possible (RFC 6455 §7.1.2)."""
        with self.lock:
            if self.stage != OPEN:
                return False
            self._push(self.protocol.close(code, reason))
            self.stage = CLOSING
            if self._space:
                self._space.notify_all()
        # defence: close-timeout
        self.loop.schedule(self, time.monotonic() + self.limits.close_timeout)
        return True

    def open(self, response: bytes, deflate: Deflate | None) -> bool:
        """Accept: send the 101 and be a WebSocket from now on; False if it is over already."""
        with self.lock:
            if self.stage != HEAD:
                return False
            if deflate:
                self.deflate = deflate
                self.protocol.use(deflate)
            self.stage = OPEN
            self._push(response)
        interval = self.limits.ping_interval
        if interval:  # spread, so that clients who came together are not pinged together
            self.loop.schedule(self, time.monotonic() + interval * random.uniform(0.5, 1))
        return True

    def answer(self, response: Response, method: str = "GET") -> None:
        """Answer with an HTTP response, then close."""
        if self.stage == TLS:
            self.drop()
            return
        with self.lock:
            if self.stage == HEAD:
                self._push(response.encode(method))
        self.linger()  # defence: linger

    def linger(self) -> None:
        """Half-close when all is written, then wait for the peer to close (RFC 6455 §7.1.1)."""
        with self.lock:
            if self.stage == DEAD:
                return
            self.stage = LINGER
            self._flush()
        # defence: linger-timeout
        self.loop.schedule(self, time.monotonic() + self.limits.close_timeout)

    def cut(self, reason: str) -> None:
        """End TCP at once, by a reset; the leader notices and finishes. Takes no lock."""
        self.reason = self.reason or reason
        with suppress(OSError):  # it may have gone already
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            socket.socket.shutdown(self.client, socket.SHUT_RDWR)

    def give_up(self, reason: str) -> None:
        """Cut, and have that noticed even if nothing is read at the moment. For the leader."""
        self.cut(reason)
        if OPEN <= self.stage <= CLOSING and not self.interest & READ:
            self.events = iter(((GONE, None),))
            self.loop.resume(self)

    def drop(self, ended: bool = False) -> None:
        """Close the descriptor, and TCP unless it *ended*. For the leader, or after all reading."""
        with self.lock:
            if self.stage == DEAD:
                return
            self.stage = DEAD
            self._queue.clear()
            self.protocol.end()
            self.events = self._head = None
            if self._space:
                self._space.notify_all()
            self.loop.forget(self)
            if not ended:  # closing doesn't end TCP while a forked child has a copy
                with suppress(OSError):
                    socket.socket.shutdown(self.client, socket.SHUT_RDWR)  # defence: fork-shutdown
            self.client.close()
        self._dropped(self)

    def on_fault(self) -> None:
        if OPEN <= self.stage <= CLOSING:
            self.give_up("internal error")
        else:
            self.drop()

    def on_writable(self) -> None:
        if self.stage == TLS:
            self._shake_hands()
            return
        with self.lock:  # defence: lock-of-reading
            self._flush()

    def _push(self, data: Buffer) -> None:
        queue, loop = self._queue, self.loop
        if not (queue or loop.more or len(data) > CHUNK):
            try:
                sent = self.client.send(data)
            except (OSError, ValueError):  # it is full, or gone: `_flush` finds out
                sent = 0
            self.bytes_out += sent
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        queue.append(data)
        self.queued += len(data)
        if loop.more and self.queued < CHUNK:
            if len(queue) > 1:  # corked already, or blocked
                return
            loop.corked.append(self)
            if loop.more:  # still: so the loop has yet to empty `corked`
                return
        if not self._blocked:
            self._flush()

    def _flush(self) -> None:
        queue = self._queue
        try:
            while queue:
                chunk = queue[0]
                if len(queue) > 1 or len(chunk) > CHUNK:
                    chunk = self._gather()
                sent = self.client.send(chunk)
                self.bytes_out += sent
                self.queued -= sent
                if sent == len(chunk):
                    del queue[0]
                else:
                    queue[0] = memoryview(chunk)[sent:]
                    break
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        except (OSError, ValueError):
            queue.clear()
            self.queued = self._held_size
            self.cut("connection lost")
        if bool(queue) is not self._blocked:  # else the loop tells already, or need not
            self._blocked = not self._blocked
            self.loop.poll(self, *((WRITE, 0) if self._blocked else (0, WRITE)))
        if self._space:
            self._space.notify_all()
        if self.stage == LINGER and not queue:
            self._half_close()

    def _gather(self) -> Buffer:
        """Make the queue's front, and return, what one system call shall take.

        Small frames are joined. TLS gets no large ones: it reports no partial progress.
        """
        queue = self._queue
        size, taken = len(queue[0]), 1
        if self._tls and size > CHUNK + RECORD:  # or the rest could be tiny
            whole = memoryview(queue[0])
            queue[:1] = whole[:CHUNK], whole[CHUNK:]
        elif self.queued - self._held_size <= CHUNK:
            queue[:] = [b"".join(queue)]
        else:
            while taken < len(queue) and size + len(queue[taken]) <= CHUNK:
                size += len(queue[taken])
                taken += 1
            if taken > 1:
                queue[:taken] = [b"".join(queue[:taken])]
        return queue[0]

    def _half_close(self) -> None:
        if self._tls:
            with suppress(OSError, ValueError):  # the close_notify leaves all the same
                self.client.unwrap()  # type: ignore[attr-defined]
        with suppress(OSError):
            socket.socket.shutdown(self.client, socket.SHUT_WR)

    def _has_room(self, size: int, wait: float, fragment: bool) -> bool:
        """Wait until *size* bytes may be queued; for a fragment what is held doesn't count."""
        deadline = time.monotonic() + wait
        while True:
            waiting = self.queued - (self._held_size if fragment else 0)
            if not waiting or waiting + size <= self.limits.max_queue_size:  # defence: queue-room
                return True
            if not self._blocked and self._queue:
                self._flush()
                continue
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                if (fragment or not self._held) and (wait or self.limits.slow_client == "close"):
                    # defence: slow-reader
                    self.cut(f"took too long to read: {self.queued} bytes were waiting for it")
                return False
            if self._space is None:
                self._space = threading.Condition(self.lock)
            self._space.wait(min(remaining, LONGEST_POLL))
            if self.stage != OPEN:
                return False

    # Deadlines

    def on_deadline(self, now: float) -> None:
        if not OPEN <= self.stage <= CLOSING:
            self.drop()
        elif self.stage == CLOSING:
            self.cut("close frame not answered in time")
        elif self._checkpoint is None:
            self.ping()
            self._checkpoint = self.bytes_in, self.bytes_out
            self.loop.schedule(self, now + self.limits.ping_timeout)  # defence: ping-timeout
        else:
            heard = self.bytes_in > self._checkpoint[0] or not self.interest & READ
            written = self.bytes_out > self._checkpoint[1]
            if self.queued and not written:
                self.cut("nothing could be written to it in time")
            elif not heard and not self.queued:
                self.cut("keepalive ping not answered in time")  # defence: unanswered-ping
            else:
                self._checkpoint = None
                interval = self.limits.ping_interval or 0
                self.loop.schedule(self, now + max(0, interval - self.limits.ping_timeout))

"""The send queue of one client, with a high-water mark."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Any, Callable, Iterable

from ..wire.deflate import Deflate
from ..wire.frames import FIN, Buffer
from ..wire.message import PreparedMessage, PreparedMessages
from .cork import WriteBatch
from .loop import LONGEST_POLL_SECONDS, Loop, Source
from .poll import READ, WRITE
from .sockets import Client, TLSClient

CHUNK_BYTES = 1 << 16
"""Small frames are joined up to this size for one system call."""
TLS_RECORD_BYTES = 1 << 14
"""The most that a TLS record carries (RFC 8446 §5.1)."""


class Outbox:
    """The frames on their way to one client. Any thread may call any method.

    Args:
        client: The socket to write to.
        source: The source to watch for writing when the socket takes no more.
        loop: The loop that watches it.
        batch: Collects the leader's writes.
        limit: The high-water mark: bytes that may wait.
        cut: Called with a reason when the client is too slow, or gone. Takes no lock.
    """

    __slots__ = (
        "_batch _client _closing _context_lock _cut _held _held_size _loop _queue _source _space "
        "_tls _writing accepting blocked bytes_out deflate ending limit lock messages_out queued "
        "waiters"
    ).split()

    def __init__(
        self,
        client: Client,
        source: Source,
        loop: Loop,
        batch: WriteBatch,
        limit: int,
        cut: Callable[[str], None],
    ) -> None:
        self._client, self._source, self._loop, self._batch = client, source, loop, batch
        self._cut = cut
        self._tls = isinstance(client, TLSClient)
        self.limit: int = limit
        """The high-water mark: bytes that may wait."""
        self.lock: Any = threading.RLock()
        """Held only around calls that don't block, so nobody waits long for it. Reentrant:
        `Lifecycle.wait` has to know whether the calling thread holds it."""
        self.accepting: bool = False
        """Whether messages are accepted: from the 101 to the close frame."""
        self.ending: bool = False
        """Whether the sending direction ends when the queue is empty."""
        self.queued: int = 0
        """Bytes that wait, including messages held back by a fragmented message."""
        self.waiters: int = 0
        """Threads that wait for room."""
        self.bytes_out: int = 0
        self.messages_out: int = 0
        self.deflate: Deflate | None = None
        """The extension for compression, if it was agreed on."""
        self._context_lock: threading.Lock | None = None  # for compressing with a context
        self._queue: list[Buffer] = []
        self.blocked: int = 0
        """What the socket waits for before it takes more: READ, WRITE, or 0 for nothing."""
        self._writing = False  # the socket's send is being called
        self._space: threading.Condition | None = None  # made when a thread has to wait for room
        self._held: list[bytes] | None = None  # messages that wait for a fragmented one to end
        self._held_size = 0
        self._closing = b""  # the close frame, if it waits for that, too

    @property
    def waiting(self) -> int:
        """Bytes that may be written now: those of `queued` that aren't held back."""
        return self.queued - self._held_size

    @property
    def closing(self) -> bool:
        """Whether the close frame waits for the end of a fragmented message."""
        return bool(self._closing)

    # Messages

    def open(self, response: bytes, deflate: Deflate | None) -> None:
        """Write the 101 response, and accept messages from now on. The caller holds `lock`."""
        if deflate:
            self.deflate = deflate
            self._context_lock = threading.Lock() if deflate.server_takeover else None
        self.accepting = True
        self.write(response)

    def put(self, frames: bytes, timeout: float = 0, messages: int = 1, cut: bool = False) -> bool:
        """Queue whole messages, and write what the socket takes.

        Args:
            frames: The messages.
            timeout: Seconds to wait for room if `limit` is reached.
            messages: The number of messages in *frames*.
            cut: Whether to cut the client if there is no room: it is too slow.

        Returns:
            Whether they were accepted.
        """
        size = len(frames)
        with self.lock:  # defence: lock-of-sending
            if not self.accepting:
                return False
            if self.queued + size > self.limit and not self._wait_for_room(size, timeout):
                if cut and self.accepting and not self._held:
                    self._cut_slow()
                return False
            self.messages_out += messages
            if self._held is None:
                self.write(frames)
            else:
                self._held.append(frames)
                self._held_size += size
                self.queued += size
            return True

    def put_prepared(
        self,
        message: PreparedMessage | PreparedMessages,
        timeout: float = 0,
        cut: bool = False,
    ) -> bool:
        """Do as `put` for messages that may have to be compressed for this client."""
        if self.deflate is None:
            return self.put(message.plain, timeout, message.count, cut)
        accepted = True
        for one in message.messages:
            accepted = self._put_deflated(one, self.deflate, timeout, cut) and accepted
        return accepted

    def _put_deflated(
        self, message: PreparedMessage, deflate: Deflate, timeout: float, cut: bool
    ) -> bool:
        if not message.is_compressed_for(deflate):
            return self.put(message.plain, timeout, 1, cut)
        if self._context_lock is None:
            return self.put(message.deflated(deflate), timeout, 1, cut)
        # If another thread is sending with this context, don't wait, which may take long: send
        # uncompressed. Messages of different threads have no order, so this one may go first.
        if not self._context_lock.acquire(False):
            return self.put(message.plain, timeout, 1, cut)
        try:
            accepted = self.put(message.deflated(deflate), timeout, 1, cut)
            if not accepted:
                deflate.forget()
            return accepted
        finally:
            self._context_lock.release()

    def put_fragments(self, frames: Iterable[bytes], timeout: float) -> bool:
        """Send the frames of one message as they come. Other messages wait until its end.

        If another thread is sending a fragmented message, the frames are collected, and sent in
        one piece afterwards.

        Args:
            frames: The frames. Taking the next one may block. If it raises when a part of the
                message has been sent, no more messages are accepted.
            timeout: Seconds to wait for room for each frame. After that, the client is cut.

        Returns:
            Whether the whole message was accepted.
        """
        with self.lock:
            first = self._held is None
            if first:
                self._held = []
        if not first:
            return self.put(b"".join(frames), timeout, cut=True)
        accepted = broken = False
        try:
            for data in frames:
                accepted = self._put_fragment(data, timeout)
                if not accepted:
                    break
            return accepted
        except BaseException:
            broken = accepted
            raise
        finally:
            self._end_fragments(broken)

    def _put_fragment(self, data: bytes, timeout: float) -> bool:
        with self.lock:
            if not (self.accepting or self._closing):
                return False
            if not self._wait_for_room(len(data), timeout, fragment=True):
                if self.accepting or self._closing:  # else it isn't slow, but leaving
                    self._cut_slow()
                return False
            self.messages_out += data[0] >= FIN
            self.write(data)
            return True

    def _end_fragments(self, broken: bool) -> None:
        """Send the messages that a fragmented message held back. Drop them if it is *broken*."""
        with self.lock:
            held, self._held = self._held or [], None
            self.queued -= self._held_size
            self._held_size = 0
            if broken:
                self.accepting = False
            elif self.accepting or self._closing:
                for data in held:
                    self.write(data)
            if self._closing:
                self.write(self._closing)
                self._closing = b""
            if self._space:
                self._space.notify_all()

    def _cut_slow(self) -> None:
        # defence: slow-reader
        self._cut(f"took too long to read: {self.queued} bytes were waiting for it")

    # Frames of other kinds

    def put_control(self, data: bytes) -> bool:
        """Write a ping or a pong, unless much is queued. Never waits (RFC 6455 §5.5)."""
        with self.lock:  # defence: lock-of-control
            # Not each ping needs a pong (§5.5.3); defence: unread-pongs
            if not self.accepting or self.waiting > CHUNK_BYTES:
                return False
            self.write(data)
            return True

    def close(self, data: bytes) -> None:
        """Send the close frame after all messages that were accepted. The caller holds `lock`."""
        self.accepting = False
        if self._held is not None:
            self._closing = data
        else:
            self.write(data)
        if self._space:
            self._space.notify_all()

    def end(self) -> None:
        """End the sending direction when the queue is empty. The caller holds `lock`."""
        self.accepting, self.ending = False, True
        if self._closing:  # a fragmented message is of no use any more
            self.write(self._closing)
            self._closing = b""
        self.flush()

    def dispose(self) -> None:
        """Drop the queue, because the descriptor is being closed. The caller holds `lock`."""
        self.accepting = False
        self._closing = b""
        self._queue.clear()
        if self._space:
            self._space.notify_all()

    # Writing; the caller holds `lock`

    def write(self, data: Buffer) -> None:
        """Write data, or queue it if the socket takes no more or the batch is open."""
        queue, batch = self._queue, self._batch
        if not (queue or batch.open or self._writing or len(data) > CHUNK_BYTES):
            self._writing = True
            try:
                sent = self._client.send(data)
                self.bytes_out += sent
                if sent < len(data):
                    queue.insert(0, memoryview(data)[sent:])
                    self.queued += len(data) - sent
            except (OSError, ValueError):  # it is full, or gone: `flush` finds out
                queue.insert(0, data)
                self.queued += len(data)
            finally:
                self._writing = False
            if not queue:
                return
        else:
            queue.append(data)
            self.queued += len(data)
            if batch.open and self.queued < CHUNK_BYTES:
                if len(queue) > 1 or batch.add(self._source):  # the batch writes it
                    return
        if not self.blocked:
            self.flush()

    def flush(self) -> None:
        """Write as much as the socket takes, and have the loop watch it for the rest.

        In a signal handler or a finalizer that has interrupted this very call, do nothing: the
        interrupted call continues with what was queued meanwhile.
        """
        if self._writing:
            return
        self._writing = True
        queue, blocked = self._queue, 0
        try:
            while queue:
                chunk = queue[0]
                if len(queue) > 1 or len(chunk) > CHUNK_BYTES:
                    chunk = self._gather()
                sent = self._client.send(chunk)
                self.bytes_out += sent
                self.queued -= sent
                if sent == len(chunk):
                    del queue[0]
                else:
                    queue[0] = memoryview(chunk)[sent:]
                    blocked = WRITE
                    break
        except (BlockingIOError, ssl.SSLWantWriteError):
            blocked = WRITE
        except ssl.SSLWantReadError:  # a renegotiation of TLS 1.2 waits for the peer
            blocked = READ
        except (OSError, ValueError):
            queue.clear()
            self.queued = self._held_size
            self._cut("connection lost")
        finally:
            self._writing = False
        if blocked != self.blocked:
            was, self.blocked = self.blocked, blocked
            self._loop.watch(self._source, add=blocked & WRITE, remove=was & WRITE)
        if self._space:
            self._space.notify_all()
        if self.ending and not queue:
            self._half_close()

    def _gather(self) -> Buffer:
        """Join small frames at the front of the queue for one system call, and return them.

        For TLS, split a large frame: a TLS socket doesn't report that a part of it was sent.
        """
        queue = self._queue
        size, taken = len(queue[0]), 1
        if self._tls and size > CHUNK_BYTES + TLS_RECORD_BYTES:  # or the rest could be tiny
            whole = memoryview(queue[0])
            queue[:1] = whole[:CHUNK_BYTES], whole[CHUNK_BYTES:]
        elif self.waiting <= CHUNK_BYTES:
            taken = len(queue)
            queue[:taken] = [b"".join(queue[:taken])]
        else:
            while taken < len(queue) and size + len(queue[taken]) <= CHUNK_BYTES:
                size += len(queue[taken])
                taken += 1
            if taken > 1:
                queue[:taken] = [b"".join(queue[:taken])]
        return queue[0]

    def _half_close(self) -> None:
        if self._tls:
            with suppress(OSError, ValueError):  # the close_notify leaves all the same
                self._client.unwrap()  # type: ignore[attr-defined]
                self._loop.schedule(self._source, 0)  # the peer's came before: all is over
        with suppress(OSError):
            socket.socket.shutdown(self._client, socket.SHUT_WR)

    def _wait_for_room(self, size: int, timeout: float, fragment: bool = False) -> bool:
        """Wait until *size* bytes may be queued. Return whether they may.

        A message of any size may be queued if nothing waits. For a fragment, the messages that its
        own message holds back don't count.
        """
        deadline = time.monotonic() + timeout
        while True:
            waiting = self.queued - (self._held_size if fragment else 0)
            if not waiting or waiting + size <= self.limit:  # defence: queue-room
                return True
            if self._writing:  # a signal handler in `write`: waiting would be forever
                return True
            if not self.blocked and self._queue:
                self.flush()
                continue
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            if self._space is None:
                self._space = threading.Condition(self.lock)
            self.waiters += 1
            self._space.wait(min(remaining, LONGEST_POLL_SECONDS))
            self.waiters -= 1
            if not (self.accepting or (fragment and self._closing)):
                return False

"""The send queue of one client, with a high-water mark."""

from __future__ import annotations

import threading
import time
from math import inf
from typing import Any, Callable, Iterable

from ..wire.deflate import Deflate
from ..wire.frames import FIN, Buffer
from ..wire.message import PreparedMessage, PreparedMessages
from .backlog import CHUNK_BYTES, Backlog
from .budget import Holder
from .cork import WriteBatch
from .loop import LONGEST_POLL_SECONDS, Loop
from .overload import Overload
from .sockets import Client
from .writer import Writer


class Outbox(Writer):
    """The frames on their way to one client. Any thread may call any method.

    Over the high-water mark, a message waits for room for as long as its sender lets it. Then it
    is queued all the same, unless the client is too slow: nothing has left of what waits for it
    for *patience* seconds.

    Args:
        client: The socket to write to.
        source: The source to watch for writing when the socket takes no more.
        loop: The loop that watches it.
        batch: Collects the leader's writes.
        overload: Bounds the memory of all outboxes together.
        limit: The high-water mark: bytes that may wait.
        patience: Seconds without progress after which a client is too slow.
        cut: Called with a reason when the client is too slow, or gone. Takes no lock.
    """

    __slots__ = (
        "_closing _context_bytes _context_lock _held _overload _patience accepting "
        "close_size deflate messages_out waiters"
    ).split()

    def __init__(
        self,
        client: Client,
        source: Holder,
        loop: Loop,
        batch: WriteBatch,
        overload: Overload,
        limit: int,
        patience: float,
        cut: Callable[[str], None],
    ) -> None:
        super().__init__(client, source, loop, batch, overload.budget, limit, cut)
        self._overload = overload
        self._patience = patience
        self.accepting: bool = False
        """Whether messages are accepted: from the 101 to the close frame."""
        self.waiters: int = 0
        """Threads that wait for room."""
        self.messages_out: int = 0
        self.deflate: Deflate | None = None
        """The extension for compression, if it was agreed on."""
        self._context_lock: threading.Lock | None = None  # for compressing with a context
        self._context_bytes = 0  # what zlib takes for it
        self._held: Backlog | None = None  # messages that wait for a fragmented one to end
        self._closing = b""  # the close frame, if it waits for that, too
        self.close_size: int = 0
        """Bytes of the close frame, which comes after all messages."""

    @property
    def queued(self) -> int:
        """Bytes that wait, including messages held back by a fragmented message."""
        held = self._held  # another thread may set it to None
        return self.waiting + (held.size if held else 0)

    @property
    def closing(self) -> bool:
        """Whether the close frame waits for the end of a fragmented message."""
        return bool(self._closing)

    # Messages

    def open(self, response: bytes, deflate: Deflate | None) -> None:
        """Accept messages from now on, after the 101 response, if there is one to write.

        The caller holds `lock`.
        """
        if deflate:
            self.deflate = deflate
            self._context_lock = threading.Lock() if deflate.out_takeover else None
        self.accepting = True
        if response:
            self.write(response)

    def put(self, frames: Buffer, timeout: float = 0, messages: int = 1, cut: bool = False) -> bool:
        """Queue whole messages, and write what the socket takes.

        Args:
            frames: The messages.
            timeout: Seconds to wait for room over the high-water mark.
            messages: The number of messages in *frames*.
            cut: Whether to cut a client that is too slow. Otherwise a client counts as too slow
                even if it makes progress, but hasn't caught up for so long.

        Returns:
            Whether they were accepted.
        """
        with self.lock:  # defence: lock-of-sending
            if not self.accepting:
                return False
            if self._held is not None or self.waiting >= self.limit:
                if not self._make_room(timeout, cut):
                    return False
            self.messages_out += messages
            if self._held is None:
                self.write(frames)
            else:
                self._held.append(frames)
        if self._backlog is not None or self._held is not None:
            self._overload.relieve()
        return True

    def put_prepared(
        self,
        message: PreparedMessage | PreparedMessages,
        timeout: float = 0,
        cut: bool = False,
    ) -> bool:
        """Do as `put` for messages that may have to be compressed for this client."""
        deflate = self.deflate  # another thread may set it to None, as the client leaves
        if deflate is None:
            return self.put(message.buffer, timeout, message.count, cut)
        accepted = True
        for one in message.messages:
            accepted = self._put_deflated(one, deflate, timeout, cut) and accepted
        return accepted

    def _put_deflated(
        self, message: PreparedMessage, deflate: Deflate, timeout: float, cut: bool
    ) -> bool:
        if not message.is_compressed_for(deflate):
            return self.put(message.buffer, timeout, 1, cut)
        if self._context_lock is None:
            return self.put(message.deflated(deflate), timeout, 1, cut)
        # If another thread is sending with this context, don't wait, which may take long: send
        # uncompressed. Messages of different threads have no order, so this one may go first.
        if not self._context_lock.acquire(False):
            return self.put(message.buffer, timeout, 1, cut)
        try:
            accepted = self.put(message.deflated(deflate), timeout, 1, cut)
            if not accepted:
                deflate.forget()
            self._charge_context(deflate.compressor_held)
            return accepted
        finally:
            self._context_lock.release()

    def _charge_context(self, size: int) -> None:
        with self.lock:
            if size != self._context_bytes and (self.accepting or not size):
                self._budget.charge(self._source, size - self._context_bytes)
                self._context_bytes = size

    def put_fragments(self, frames: Iterable[Buffer], timeout: float) -> bool:
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
                self._held = Backlog(self._budget, self._source)
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

    def _put_fragment(self, data: Buffer, timeout: float) -> bool:
        with self.lock:
            if not (self.accepting or self._closing):
                return False
            if not self._make_room(timeout, True, fragment=True):
                return False
            self.messages_out += data[0] >= FIN
            self.write(data)
        self._overload.relieve()
        return True

    def _end_fragments(self, broken: bool) -> None:
        """Send the messages that a fragmented message held back. Drop them if it is *broken*."""
        with self.lock:
            held, self._held = self._held, None
            assert held is not None
            if broken:
                self.accepting = False
            elif self.accepting or self._closing:
                for data in held:
                    self.write(data)
            held.clear()
            if self._closing:
                self._write_close(self._closing)
                self._closing = b""
            if self._space:
                self._space.notify_all()

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
            self._write_close(data)
        if self._space:
            self._space.notify_all()

    def end(self, half_close: bool = True) -> None:
        """Accept nothing more, and write the queue. The caller holds `lock`.

        Args:
            half_close: Whether to end the sending direction when the queue is empty.
        """
        self.accepting = False
        self.ending: bool = half_close
        if self._closing:  # a fragmented message is of no use any more
            self._write_close(self._closing)
            self._closing = b""
        self.flush()

    def _write_close(self, data: bytes) -> None:
        self.close_size = len(data)
        self.write(data)

    def dispose(self) -> None:
        """Drop the queue, because the descriptor is being closed. The caller holds `lock`."""
        self.accepting = False
        self._closing = b""
        self.deflate = None
        self._charge_context(0)
        if not self._writing:  # else a signal handler has interrupted the use of the queue
            self.drop()
            self._note_congestion()
            if self._held:
                self._held.clear()
        if self._space:
            self._space.notify_all()

    def orphan(self) -> None:
        """Accept nothing, because this is a forked child. Takes no lock."""
        self.lock: Any = threading.RLock()  # another thread may have held it
        self._space = None
        self.accepting = False

    def _make_room(self, timeout: float, cut: bool, fragment: bool = False) -> bool:
        """Wait until a message may be queued. Return whether it is to be queued.

        That is so while less than `limit` waits, whatever the message's size. So the first message
        that a callback sends to its own client never has to wait. For a fragment, the messages
        that its own message holds back don't count.
        """
        deadline = time.monotonic() + timeout
        while True:
            waiting = self.waiting if fragment else self.queued
            if waiting < self.limit:  # defence: queue-room
                return True
            if self._writing:  # a signal handler in `write`: waiting would be forever
                return True
            if not self.blocked and self.waiting:
                self.flush()
                continue
            too_slow = self._too_slow_at(cut)
            remaining = min(deadline, too_slow) - time.monotonic()
            if remaining <= 0:
                break
            if self._space is None:
                self._space = threading.Condition(self.lock)
            self.waiters += 1
            self._space.wait(min(remaining, LONGEST_POLL_SECONDS))
            self.waiters -= 1
            if not (self.accepting or (fragment and self._closing)):
                return False
        if deadline < too_slow:
            return True
        if cut:
            # defence: slow-reader
            self._cut(f"took too long to read: {self.queued} bytes were waiting for it")
        return False

    def moved(self) -> float:
        """Return when a part of what waits has left last, by time.monotonic()."""
        backlog = self._backlog
        if backlog is None:
            return 0.0
        backlog.note(self.taken())
        return backlog.moved

    def _too_slow_at(self, cut: bool) -> float:
        """Return when the client is too slow, by time.monotonic()."""
        backlog = self._backlog
        if backlog is None:  # it isn't the client that others wait for
            return inf
        backlog.note(self.taken())
        return (backlog.moved if cut else backlog.since) + self._patience

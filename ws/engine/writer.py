"""Writing to one client's socket, which doesn't block: what it doesn't take at once waits."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from typing import Any, Callable

from ..wire.frames import Buffer
from .backlog import CHUNK_BYTES, Backlog
from .budget import Budget, Holder
from .cork import WriteBatch
from .loop import Loop
from .poll import READ, WRITE
from .sockets import Client, TLSClient


class Writer:
    """Writes to a client. Whoever calls a method holds `lock`.

    Args:
        client: The socket to write to.
        source: The source to watch for writing when the socket takes no more. What waits counts as
            held by it.
        loop: The loop that watches it.
        batch: Collects the leader's writes.
        budget: Counts what waits for the socket.
        limit: The high-water mark: while this many bytes wait, the source is congested.
        cut: Called with a reason when the client is gone. Takes no lock.
    """

    __slots__ = (
        "_backlog _batch _batched _budget _client _cut _loop _source _space _tls _writing blocked "
        "bytes_out ending limit lock lost waiting"
    ).split()

    def __init__(
        self,
        client: Client,
        source: Holder,
        loop: Loop,
        batch: WriteBatch,
        budget: Budget,
        limit: int,
        cut: Callable[[str], None],
    ) -> None:
        self._client, self._source, self._loop, self._batch = client, source, loop, batch
        self._budget, self._cut = budget, cut
        self._tls = isinstance(client, TLSClient)
        self.lock: Any = threading.RLock()
        """Held only around calls that don't block, so nobody waits long for it. Reentrant:
        `Lifecycle.wait` has to know whether the calling thread holds it."""
        self.limit: int = limit
        """The high-water mark: bytes that may wait."""
        self.ending: bool = False
        """Whether the sending direction ends when nothing waits any more."""
        self.waiting: int = 0
        """Bytes that wait to be written."""
        self.lost: int = 0
        """Bytes that waited when the connection was lost."""
        self.bytes_out: int = 0
        self.blocked: int = 0
        """What the socket waits for before it takes more: READ, WRITE, or 0 for nothing."""
        self._batched: list[Buffer] = []  # what waits for the batch to be closed
        self._backlog: Backlog | None = None  # what waits for the socket, before that
        self._writing = False  # the socket's send is being called
        self._space: threading.Condition | None = None  # made when a thread has to wait for room

    def write(self, data: Buffer) -> None:
        """Write data, or queue it if the socket takes no more or the batch is open."""
        if self.blocked:
            self.waiting += len(data)
            self._keep(data)
            self._note_congestion()
            return
        batched, batch = self._batched, self._batch
        if not (batched or batch.open or self._writing or len(data) > CHUNK_BYTES):
            self._writing = True
            try:
                sent = self._client.send(data)
            except (OSError, ValueError):  # it is full, or gone: `flush` finds out
                sent = 0
            finally:
                self._writing = False
            self.bytes_out += sent
            if sent < len(data):
                self.waiting += len(data) - sent
                self._keep(data, sent)
            elif not batched:  # a signal handler may have sent something
                return
        else:
            batched.append(data)
            self.waiting += len(data)
            if batch.open and self.waiting < CHUNK_BYTES:
                if len(batched) > 1 or batch.add(self._source):  # the batch writes it
                    return
        self.flush()

    def _keep(self, data: Buffer, sent: int = 0) -> None:
        """Add *data* to what waits for the socket, without the first bytes, which were *sent*."""
        if self._backlog is None:
            self._backlog = Backlog(self._budget, self._source, self.taken())
        self._backlog.append(data)
        if sent:
            self._backlog.sent(sent)

    def flush(self) -> None:
        """Write as much as the socket takes, and have the loop watch it for the rest.

        In a signal handler or a finalizer that has interrupted this very call, do nothing: the
        interrupted call continues with what was queued meanwhile.
        """
        if self._writing:
            return
        self._writing = True
        blocked = 0
        try:
            while self._backlog is not None or self._batched:
                if not self._write_some():
                    blocked = WRITE
                    break
        except (BlockingIOError, ssl.SSLWantWriteError):
            blocked = WRITE
        except ssl.SSLWantReadError:  # a renegotiation of TLS 1.2 waits for the peer
            blocked = READ
        except (OSError, ValueError):
            self.drop()
            self._cut("connection lost")
        finally:
            self._writing = False
        if blocked:
            self._keep_batched()
        if blocked != self.blocked:
            was, self.blocked = self.blocked, blocked
            self._loop.watch(self._source, add=blocked & WRITE, remove=was & WRITE)
        self._note_congestion()
        if self._space:
            self._space.notify_all()
        if self.ending and not self.waiting:
            self._half_close()

    def _note_congestion(self) -> None:
        """Have the source read on when less than `limit` waits; until then, it isn't read."""
        source, congested = self._source, self.blocked == WRITE and self.waiting >= self.limit
        if source.congested is not congested:
            source.congested = congested  # defence: own-queue
            if not congested:
                self._loop.drained(source)

    def taken(self) -> int:
        """Return how many bytes the peer has taken, as far as the system tells.

        The system's buffers may take megabytes at a time, and then none for many seconds, however
        steadily the peer reads.
        """
        try:
            return self.bytes_out - self._client.untaken()
        except (OSError, ValueError):  # it is gone
            return self.bytes_out

    def _write_some(self) -> bool:
        """Call the socket's `send` once. Return whether it took all that it was given."""
        batched = self._batched
        if self._backlog is None and (len(batched) > 1 or self._tls):
            if self.waiting > CHUNK_BYTES:
                self._keep_batched()
        backlog = self._backlog
        if backlog is None:
            count = len(batched)
            chunk = batched[0] if count == 1 else b"".join(batched)
            sent = self._client.send(chunk)
            del batched[:count]  # a signal handler may have added others
        else:
            chunk = backlog.front(self._tls)
            sent = self._client.send(chunk)
            backlog.sent(sent)
            if not backlog.size:
                backlog.clear()
                self._backlog = None
        self.bytes_out += sent
        self.waiting -= sent
        if sent == len(chunk):
            return True
        if backlog is None:
            self._keep(chunk, sent)
        return False

    def _keep_batched(self) -> None:
        """Let what waits for the batch wait for the socket, too."""
        for data in self._batched:
            self._keep(data)
        self._batched.clear()

    def drop(self) -> None:
        """Forget all that waits."""
        self._batched.clear()
        if self._backlog is not None:
            self._backlog.clear()
            self._backlog = None
        self.lost += self.waiting
        self.waiting = 0

    def _half_close(self) -> None:
        if self._tls:
            with suppress(OSError, ValueError):  # the close_notify leaves all the same
                self._client.unwrap()  # type: ignore[attr-defined]
                self._loop.schedule(self._source, 0)  # the peer's came before: all is over
        with suppress(OSError):
            socket.socket.shutdown(self._client, socket.SHUT_WR)

"""What a socket hasn't taken yet, in little more memory than it has bytes."""

from __future__ import annotations

import time
from collections import deque
from typing import Iterator

from ..wire.frames import Buffer
from ..wire.message import SMALL_BYTES
from .budget import Budget, Holder

CHUNK_BYTES = 1 << 16
"""Pieces are joined up to this size for one system call."""
TLS_RECORD_BYTES = 1 << 14
"""The most that a TLS record carries (RFC 8446 §5.1)."""
PIECE_BYTES = 56
"""What a piece takes, besides its bytes."""


class Backlog:
    """Bytes that wait for a socket, in order. The caller holds a lock.

    Small pieces are copied together as they come, large ones are kept as they are. A memoryview
    stands for a buffer that others may hold, too, see `message.sharable`. A signal handler may call
    `append` while a `front` is being written.

    Args:
        budget: Counts what is held here.
        holder: For whom it is counted.
        taken: How many bytes the peer has taken of what was written before.
    """

    __slots__ = "_budget _gone _holder _pieces _tail _taken moved since size".split()

    def __init__(self, budget: Budget, holder: Holder, taken: int = 0) -> None:
        self._budget, self._holder = budget, holder
        self.size: int = 0
        """How many bytes wait."""
        self.since: float = time.monotonic()
        """Since when there are any, by time.monotonic()."""
        self.moved: float = self.since
        """When some of them left last, or else `since`."""
        self._taken = taken
        self._pieces: deque[Buffer] = deque()
        self._gone = 0  # bytes of the first piece that have left
        self._tail: bytearray | None = None  # the last piece, if more may be copied to its end

    def __iter__(self) -> Iterator[Buffer]:
        """Yield the pieces as they are, parts that have left included."""
        return iter(self._pieces)

    def append(self, data: Buffer) -> None:
        """Add *data* at the end."""
        size = len(data)
        self.size += size
        if size > SMALL_BYTES:
            self._tail = None
            self._hold(data)
        elif self._tail is None or len(self._tail) + size > CHUNK_BYTES:  # defence: joined-pieces
            self._tail = bytearray(data)
            self._hold(self._tail)
        else:
            self._tail += data
            self._budget.charge(self._holder, size)

    def _hold(self, piece: Buffer) -> None:
        self._pieces.append(piece)
        if isinstance(piece, memoryview):
            self._budget.share(self._holder, piece)
        else:
            self._budget.charge(self._holder, len(piece) + PIECE_BYTES)

    def _release(self) -> Buffer:
        """Let go of the first piece, and return it."""
        piece = self._pieces.popleft()
        self._gone = 0
        if isinstance(piece, memoryview):
            self._budget.unshare(self._holder, piece)
        else:
            self._budget.charge(self._holder, -len(piece) - PIECE_BYTES)
        return piece

    def front(self, tls: bool) -> Buffer:
        """Return the bytes to write next, and don't change them before `sent` was called.

        Args:
            tls: Whether to split a large piece. A TLS socket doesn't report that a part was sent.
        """
        pieces = self._pieces
        size = len(pieces[0]) - self._gone
        if len(pieces) > 1 and size + len(pieces[1]) <= CHUNK_BYTES:
            self._join()
        if len(pieces) == 1:
            self._tail = None
        if tls and size > CHUNK_BYTES + TLS_RECORD_BYTES:  # or the rest could be tiny
            return memoryview(pieces[0])[self._gone : self._gone + CHUNK_BYTES]
        return memoryview(pieces[0])[self._gone :] if self._gone else pieces[0]

    def _join(self) -> None:
        """Replace the first pieces by one, of up to CHUNK_BYTES."""
        parts: list[Buffer] = [memoryview(self._pieces[0])[self._gone :]]
        size = len(parts[0])
        self._release()
        while self._pieces and size + len(self._pieces[0]) <= CHUNK_BYTES:
            parts.append(self._release())
            size += len(parts[-1])
        self._pieces.appendleft(b"".join(parts))
        self._budget.charge(self._holder, size + PIECE_BYTES)

    def sent(self, size: int) -> None:
        """Remove *size* bytes of the `front`."""
        self.size -= size
        self.moved = time.monotonic()
        self._gone += size
        if self._gone == len(self._pieces[0]):
            self._release()

    def note(self, taken: int) -> None:
        """Note how many bytes the peer has taken in all: more than the last time is progress."""
        if taken > self._taken:
            self._taken = taken
            self.moved = time.monotonic()

    def clear(self) -> None:
        """Forget all that waits."""
        self._tail = None
        self.size = 0
        while self._pieces:
            self._release()

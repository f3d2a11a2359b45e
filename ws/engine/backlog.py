"""What a socket hasn't taken yet, in little more memory than it has bytes."""

from __future__ import annotations

import time
from collections import deque
from typing import Iterator

from ..wire.frames import Buffer

CHUNK_BYTES = 1 << 16
"""Pieces are joined up to this size for one system call."""
TLS_RECORD_BYTES = 1 << 14
"""The most that a TLS record carries (RFC 8446 §5.1)."""
SMALL_BYTES = 128
"""Pieces up to this size are copied together as they come. By itself, a piece takes some 50 bytes
besides its own. A larger one is kept as it is: others may wait for many clients, as one object."""


class Backlog:
    """Bytes that wait for a socket, in order. The caller holds a lock.

    A signal handler may call `append` while a `front` is being written.

    Args:
        taken: How many bytes the peer has taken of what was written before.
    """

    __slots__ = ("_chunks", "_tail", "_taken", "moved", "since", "size")

    def __init__(self, taken: int = 0) -> None:
        self.size: int = 0
        """How many bytes wait."""
        self.since: float = time.monotonic()
        """Since when there are any, by time.monotonic()."""
        self.moved: float = self.since
        """When some of them left last, or else `since`."""
        self._taken = taken
        self._chunks: deque[Buffer] = deque()
        self._tail: bytearray | None = None  # the last chunk, if more may be copied to its end

    def append(self, data: Buffer, start: int = 0) -> None:
        """Add *data* from the index *start* on at the end."""
        size = len(data) - start
        self.size += size
        if size > SMALL_BYTES:
            self._chunks.append(memoryview(data)[start:] if start else data)
            self._tail = None
        elif self._tail is None or len(self._tail) + size > CHUNK_BYTES:
            self._tail = bytearray(data[start:])
            self._chunks.append(self._tail)
        else:
            self._tail += data[start:]

    def __iter__(self) -> Iterator[Buffer]:
        """Yield what waits, piece by piece."""
        return iter(self._chunks)

    def front(self, tls: bool) -> Buffer:
        """Return the bytes to write next, and don't change them before `sent` was called.

        Args:
            tls: Whether to split a large chunk. A TLS socket doesn't report that a part was sent.
        """
        chunks = self._chunks
        size = len(chunks[0])
        if tls and size > CHUNK_BYTES + TLS_RECORD_BYTES:  # or the rest could be tiny
            return memoryview(chunks[0])[:CHUNK_BYTES]
        if len(chunks) > 1 and size + len(chunks[1]) <= CHUNK_BYTES:
            pieces = [chunks.popleft()]
            while chunks and size + len(chunks[0]) <= CHUNK_BYTES:
                pieces.append(chunks.popleft())
                size += len(pieces[-1])
            chunks.appendleft(b"".join(pieces))
        if len(chunks) == 1:
            self._tail = None
        return chunks[0]

    def note(self, taken: int) -> None:
        """Note how many bytes the peer has taken in all: more than the last time is progress."""
        if taken > self._taken:
            self._taken = taken
            self.moved = time.monotonic()

    def sent(self, size: int) -> None:
        """Remove *size* bytes of the `front`."""
        chunk = self._chunks[0]
        self.size -= size
        self.moved = time.monotonic()
        if size == len(chunk):
            self._chunks.popleft()
        else:
            self._chunks[0] = memoryview(chunk)[size:]

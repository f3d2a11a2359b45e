"""How the C library's malloc treats memory that large messages have used."""

from __future__ import annotations

import sys
from contextlib import suppress

LARGEST_BLOCK_BYTES = 31 << 20
"""glibc doesn't raise its threshold for larger blocks (mallopt(3), M_MMAP_THRESHOLD)."""
M_ARENA_MAX = -8
"""The number of this parameter, in malloc.h."""
ARENAS = 1
"""How many arenas there may be."""


def keep_freed_memory(size: int) -> None:
    """Have glibc keep up to twice *size* freed bytes, 62 MiB at most, to be used again.

    By default, glibc returns the memory of a large message to the system, and gets it again page
    by page, which takes longer than to echo the message. When a large block is freed, glibc
    raises its threshold for this. So one large block is allocated here and freed at once. It is
    never written to, so it takes no memory. Other C libraries do nothing of this kind.

    glibc has several arenas, of which threads take one each, and would keep so much in each of
    them: up to eight times the number of processors.
    """
    bytes(min(size, LARGEST_BLOCK_BYTES))
    if sys.platform == "linux":
        with suppress(AttributeError, ImportError, OSError):  # it isn't glibc
            import ctypes  # noqa: PLC0415

            ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)

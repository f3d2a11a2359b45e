"""How the C library's malloc treats memory that large messages have used."""

from __future__ import annotations

import functools
from typing import Any

LARGEST_BLOCK_BYTES = 31 << 20
"""glibc doesn't raise its threshold for larger blocks (mallopt(3), M_MMAP_THRESHOLD)."""
M_ARENA_MAX = -8
"""The number of this parameter, in malloc.h."""
ARENAS = 1
"""How many arenas there may be."""
_kept = 0  # the size of the largest block so far


def keep_freed_memory(size: int) -> None:
    """Have glibc keep up to twice *size* freed bytes, 62 MiB at most, to be used again.

    By default, glibc returns the memory of a large message to the system, and gets it again page
    by page, which takes longer than to echo the message. When a large block is freed, glibc
    raises its threshold for this. So one large block is allocated here and freed at once. It is
    never written to, so it takes no memory. A second one would take it: below the threshold, memory
    is cleared by writing to it. Other C libraries do nothing of this kind.

    glibc has several arenas, of which threads take one each, and would keep so much in each of
    them: up to eight times the number of processors. So it is told to have one.
    """
    global _kept  # noqa: PLW0603
    size = min(size, LARGEST_BLOCK_BYTES)
    if size <= _kept:
        return
    _kept = size
    bytes(size)
    mallopt = _function("mallopt")
    if mallopt:
        mallopt(M_ARENA_MAX, ARENAS)


def return_freed_memory() -> None:
    """Have glibc return to the system all pages that nothing uses.

    By itself, it returns those at the end of its heap only. Messages of many sizes, freed in any
    order, leave more free memory between used blocks than is used. For 300 MiB, this takes a
    millisecond or two. With other C libraries, it does nothing.
    """
    malloc_trim = _function("malloc_trim")
    if malloc_trim:
        malloc_trim(0)


@functools.lru_cache(maxsize=None)
def _function(name: str) -> Any:
    """Return a function of the C library, or None if it has none of that name."""
    try:
        import ctypes  # noqa: PLC0415 - where there is none, nothing is to be done

        return getattr(ctypes.CDLL(None), name)
    except (ImportError, OSError, TypeError, AttributeError):
        return None

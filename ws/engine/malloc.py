"""How the C library's malloc treats memory that large messages have used."""

from __future__ import annotations

import functools
from typing import Any

LARGEST_BLOCK_BYTES = 31 << 20
"""glibc doesn't raise its threshold for larger blocks (mallopt(3), M_MMAP_THRESHOLD)."""


def keep_freed_memory(size: int) -> None:
    """Have glibc keep up to twice *size* freed bytes, 62 MiB at most, to be used again.

    By default, glibc returns the memory of a large message to the system, and gets it again page
    by page, which takes longer than to echo the message. When a large block is freed, glibc
    raises its threshold for this. So one large block is allocated here and freed at once. It is
    never written to, so it takes no memory. Other C libraries do nothing of this kind.
    """
    bytes(min(size, LARGEST_BLOCK_BYTES))


def return_freed_memory() -> None:
    """Have glibc return to the system all pages that nothing uses.

    By itself, it returns those at the end of its heap only. Messages of many sizes, freed in any
    order, leave more free memory between used blocks than is used. For 300 MiB, this takes a
    millisecond or two. With other C libraries, it does nothing.
    """
    trim = _malloc_trim()
    if trim:
        trim(0)


@functools.lru_cache(maxsize=None)
def _malloc_trim() -> Any:
    try:
        import ctypes  # noqa: PLC0415 - which takes memory, and is seldom needed

        return ctypes.CDLL(None).malloc_trim
    except (ImportError, OSError, TypeError, AttributeError):
        return None

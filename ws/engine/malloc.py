"""How the C library's malloc treats memory that large messages have used."""

from __future__ import annotations

LARGEST_BLOCK_BYTES = 31 << 20
"""glibc learns nothing from a block that is larger (mallopt(3), M_MMAP_THRESHOLD)."""


def keep_freed_memory(size: int) -> None:
    """Have glibc keep up to twice *size* freed bytes, 62 MiB at most, to be used again.

    By default, glibc returns the memory of a large message to the system, and gets it again page
    by page, which takes longer than to echo the message. It learns from the largest block that
    was ever freed. This block is never written to, so it takes no memory itself. Other C
    libraries ignore it.
    """
    bytes(min(size, LARGEST_BLOCK_BYTES))

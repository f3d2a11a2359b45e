"""Payloads of compressed messages, as encoders make them, or as attackers do (RFC 7692 §7.2.1)."""

from __future__ import annotations

import zlib

TAIL = b"\x00\x00\xff\xff"
"""The end of a flushed block, which a message leaves out."""
EIGHT_EMPTY_BLOCKS = bytes.fromhex(
    "04c0010500000000a0ffaf830038a00000000000f4ff75100007140000000080febf0e02e0800200000000d0ffd7"
    "41001c500000000000faff3a0880030a0000000040ff5f070170400100000000e8ffeb20000e280000000000fd7f"
    "1d"
)
"""Blocks that inflate to nothing, each with the table of a code (RFC 1951 §3.2.7). Nothing takes
zlib longer: a microsecond for a block of 93 bits."""


def squeeze(
    data: bytes, level: int = 9, bits: int = 15, memory: int = 8, flush: int = zlib.Z_SYNC_FLUSH
) -> bytes:
    """Return the payload of a message without a context."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -bits, memory)
    squeezed = compressor.compress(data) + compressor.flush(flush)
    return squeezed[:-4] if squeezed.endswith(TAIL) else squeezed

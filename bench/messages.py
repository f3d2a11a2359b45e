"""The frames that clients send, made before the measurement."""

from __future__ import annotations

import functools
import json
import random
import zlib
from string import ascii_lowercase

from tests.support.frames import BINARY, TEXT, frame

BATCHES = 64
"""Different compressed batches, as with context takeover a repeated one would cost nothing."""
COMPRESSED_RSV = 4
"""The reserved bits of a compressed message (RFC 7692 §6)."""


@functools.lru_cache(maxsize=BATCHES)
def batch(
    size: int, count: int, *, binary: bool = False, compress: bool = False, seed: int = 0
) -> bytes:
    """Return ``count`` frames of ``size`` bytes each before compression.

    Args:
        size: Bytes of each payload.
        count: The number of frames.
        binary: Binary messages instead of text.
        compress: Compress each payload (RFC 7692), of text that depends on ``seed``.
        seed: Different ones give different texts.
    """
    payloads = [letters(size)] * count
    if compress:
        text = prose(size * count, seed)
        payloads = [_deflate(text[at * size : (at + 1) * size]) for at in range(count)]
    opcode, rsv = BINARY if binary else TEXT, COMPRESSED_RSV if compress else 0
    keys = random.Random(count)
    return b"".join(frame(opcode, payload, key=keys.randbytes(4), rsv=rsv) for payload in payloads)


def _deflate(payload: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return (deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


def letters(size: int) -> bytes:
    """Return ASCII text, for messages that aren't compressed."""
    return (ascii_lowercase.encode() * (size // 26 + 1))[:size]


def prose(size: int, seed: int) -> bytes:
    """Return JSON that compresses to about a third, as that of ordinary programs does."""
    numbers = random.Random(seed)
    records, length = [], 0
    while length < size:
        record = {
            "id": numbers.randrange(10**9),
            "user": numbers.choice(("alice", "bob", "carol", "dave")),
            "text": "".join(numbers.choices("etaoin shrdlu", k=20)),
            "seen": numbers.random() < 0.5,
        }
        records.append(json.dumps(record))
        length += len(records[-1])
    return "".join(records).encode()[:size]

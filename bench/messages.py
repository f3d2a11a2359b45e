"""The frames that clients send, made before the measurement."""

from __future__ import annotations

import functools
import json
import random
import zlib
from string import ascii_lowercase

TEXT, BINARY, FIN, COMPRESSED, MASKED = 0x1, 0x2, 0x80, 0x40, 0x80
BATCHES = 64
"""Different compressed batches, as with context takeover a repeated one would cost nothing."""
CHUNK = 1 << 16
"""Bytes masked at a time: a multiple of four. Much longer integers are slow."""


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
    first = FIN | (BINARY if binary else TEXT)
    if compress:
        text = prose(size * count, seed)
        payloads = [_deflate(text[at * size : (at + 1) * size]) for at in range(count)]
        first |= COMPRESSED
    keys = random.Random(count)
    return b"".join(frame(first, payload, keys.randbytes(4)) for payload in payloads)


def _deflate(payload: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return (deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


def frame(first: int, payload: bytes, key: bytes) -> bytes:
    """Return a frame as a client sends it (RFC 6455 §5.2)."""
    size = len(payload)
    if size < 126:
        head = bytes((first, MASKED | size))
    elif size < 1 << 16:
        head = bytes((first, MASKED | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, MASKED | 127)) + size.to_bytes(8, "big")
    chunks = (payload[start : start + CHUNK] for start in range(0, size, CHUNK))
    return head + key + b"".join(_mask(chunk, key) for chunk in chunks)


def _mask(chunk: bytes, key: bytes) -> bytes:
    size = len(chunk)
    mask = int.from_bytes((key * (size // 4 + 1))[:size], "big")
    return (int.from_bytes(chunk, "big") ^ mask).to_bytes(size, "big")


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

"""Frames as a client sends them, right or wrong (RFC 6455 §5)."""

from __future__ import annotations

import os
import struct
from typing import Iterator

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
"""The opcodes (§11.8)."""
KEY = b"\x37\xfa\x21\x3d"
"""The masking key of the examples in §5.7."""


def frame(
    opcode: int, payload: bytes = b"", fin: bool = True, key: bytes | None = None, rsv: int = 0
) -> bytes:
    """Return a masked frame.

    Args:
        opcode: Which frame it is, 0 to 15.
        payload: What it carries, before masking.
        fin: Whether it is the last of its message.
        key: Four bytes to mask with; random by default.
        rsv: The three reserved bits; 4 is the compression extension's (RFC 7692).
    """
    key = os.urandom(4) if key is None else key
    length = len(payload)
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if length < 126:
        head += bytes([0x80 | length])
    elif length < 65536:
        head += struct.pack("!BH", 0xFE, length)
    else:
        head += struct.pack("!BQ", 0xFF, length)
    repeated = int.from_bytes((key * (length // 4 + 1))[:length], "little")
    masked = int.from_bytes(payload, "little") ^ repeated
    return head + key + masked.to_bytes(length, "little")


def masked(first: int, payload: bytes = b"", key: bytes = KEY) -> bytes:
    """Return a masked frame whose first byte is *first*: its flags and its opcode (§5.2)."""
    return frame(first & 0x0F, payload, first >= 0x80, key, first >> 4 & 7)


def close_frame(code: int = 1000, reason: str = "") -> bytes:
    """Return a masked close frame."""
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())


class FrameReader:
    """Takes a server's stream apart, in pieces as they come."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the opcode and the payload of each frame that is complete now."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= 2:
            start, length = 2, buffer[1]
            if length >= 126:
                start = 4 if length == 126 else 10
                length = int.from_bytes(buffer[2:start], "big")
            if len(buffer) < start + length:
                return
            frame = buffer[0] & 0x0F, bytes(buffer[start : start + length])
            del buffer[: start + length]
            yield frame

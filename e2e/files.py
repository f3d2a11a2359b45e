"""Pictures and files for people to show each other."""

from __future__ import annotations

import random
import struct
import zlib

from playwright.sync_api import FilePayload


def png(width: int, height: int, seed: int = 0) -> bytes:
    """Return a picture of noise, which no codec makes smaller."""
    noise = random.Random(seed)
    rows = b"".join(b"\0" + noise.randbytes(3 * width) for _ in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack("!I", len(data)) + body + struct.pack("!I", zlib.crc32(body))

    head = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def file(name: str, content: bytes, kind: str = "application/octet-stream") -> FilePayload:
    """Return a file as Playwright's `set_input_files` takes it."""
    return {"name": name, "mimeType": kind, "buffer": content}

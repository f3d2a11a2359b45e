"""Tables of what is sent over a raw socket, what must come back, and the clause that says so."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.frames import CLOSE, TEXT, frame
from tests.support.heads import EXAMPLE, GET

KEY = b"\x37\xfa\x21\x3d"
"""The masking key in RFC 6455 §5.7; fixed, so that reports name the same bytes each time."""
OPCODES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}


@dataclass(frozen=True)
class Row:
    """The clause as "6455 §4.1", a sentence of it, what is sent, and what must come back."""

    clause: str
    quote: str
    sent: bytes
    back: tuple[Any, ...]


def table(*rows: tuple[Any, ...]) -> pytest.MarkDecorator:
    """Run a test for each row, which is its ``row``."""
    params = []
    for clause, quote, sent, *back in rows:
        name = f"{clause} {quote}".replace("§", "").replace("[", "(").replace("]", ")")
        params.append(pytest.param(Row(clause, quote, sent, tuple(back)), id=name))
    return pytest.mark.parametrize("row", params)


# What is sent


def text(message: str, **how: Any) -> bytes:
    """Return a text message in one masked frame."""
    return frame(TEXT, message.encode(), key=KEY, **how)


def close(code: int | None = None, reason: str = "") -> bytes:
    """Return a masked close frame, with a body if there is a code."""
    body = b"" if code is None else struct.pack("!H", code) + reason.encode()
    return frame(CLOSE, body, key=KEY)


# What people read


def describe(data: bytes) -> list[str]:
    """Return the bytes of one side as lines of text."""
    if not data:
        return ["nothing"]
    if data[:1].isalpha() and b" " in data[:16]:
        return _describe_head(data)
    return _describe_frames(data)


def _describe_head(data: bytes) -> list[str]:
    """Return a request's lines; for a handshake those that differ from the example's."""
    start, *lines = data.decode("latin-1").split("\r\n")
    fields = [line for line in lines if line]
    if b"Sec-WebSocket-" not in data:
        return list(map(_shorten, [start, *fields]))
    example = {f"{name}: {value}" for name, value in EXAMPLE.items()}
    names = [line.partition(":")[0].lower() for line in fields]
    found = [] if start == GET else [start]
    for name, line in zip(names, fields):
        if line not in example or names.count(name) > 1:
            found.append(line)
    found += [f"no {name}" for name in EXAMPLE if name.lower() not in names]
    return list(map(_shorten, found)) or ["the example of §1.2"]


def _shorten(line: str) -> str:
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    return line if len(line) <= 60 else f"{line[:40]}… ({len(line):,} characters)"


def _describe_frames(data: bytes) -> list[str]:
    """Return a line for each frame, and other bytes in hexadecimal."""
    lines = []
    while len(data) >= 2:
        first, second = data[0], data[1]
        size = {126: 2, 127: 8}.get(second & 0x7F, 0)
        length = int.from_bytes(data[2 : 2 + size], "big") if size else second & 0x7F
        start = 2 + size
        key = data[start : start + 4] if second & 0x80 else b""
        start += len(key)
        payload = bytes(
            byte ^ key[i % 4] if key else byte
            for i, byte in enumerate(data[start : start + length])
        )
        data = data[start + length :]
        notes = [] if first & 0x80 else ["not final"]
        notes += ["RSV1"] * bool(first & 0x40) + ["RSV2"] * bool(first & 0x20)
        notes += [] if second & 0x80 else ["not masked"]
        if len(payload) < length:
            notes.append(f"{length:,} bytes declared")
        elif size and length < (126 if size == 2 else 1 << 16):
            notes.append(f"length in {8 * size} bits")
        what = OPCODES.get(first & 15, f"opcode {first & 15}")
        lines.append(", ".join([f"{what} {_payload(first & 15, payload)}".rstrip(), *notes]))
    return lines + ([data.hex(" ")] if data else [])


def _payload(opcode: int, payload: bytes) -> str:
    if opcode == 8 and len(payload) > 1:
        code = int.from_bytes(payload[:2], "big")
        return f"{code} {_payload(1, payload[2:])}".rstrip()
    if len(payload) > 20:
        return f"“{payload[:5].decode()}…”, {len(payload)} bytes"
    if payload.isascii() and payload.decode().isprintable():
        return f"“{payload.decode()}”" if payload else ""
    return payload.hex(" ")

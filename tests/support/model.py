"""A slow, plain model of RFC 6455 §5: what a stream of bytes has to mean.

It takes the whole stream at once, keeps nothing between calls, and knows no compression.
"""

from __future__ import annotations

from typing import Any

from tests.support.frames import BINARY, CLOSE, CONT, PING, PONG, TEXT
from ws.wire import events as kinds

KINDS = {CLOSE: kinds.CLOSE, PING: kinds.PING, PONG: kinds.PONG}
DATA, CONTROL = (CONT, TEXT, BINARY), (CLOSE, PING, PONG)


class Fault(Exception):
    """The stream breaks the protocol; its argument is the close code."""


class Incomplete(Exception):
    """The stream ends within a frame."""


def events(stream: bytes, max_message_size: int, max_fragments: int) -> list[tuple[int, int, Any]]:
    """Return all events in *stream*, each as (where its last byte is, kind, value).

    Kinds are those of `ws.wire.events`. The last one may be CLOSE, with (code, reason) for its
    value, or PROTOCOL_ERROR, with a close code.
    """
    found: list[tuple[int, int, Any]] = []
    position = 0
    message: tuple[int, bytes, int] | None = None  # opcode, payload so far, frames so far

    def take(count: int) -> bytes:
        nonlocal position
        if len(stream) < position + count:
            raise Incomplete
        position += count
        return stream[position - count : position]

    try:
        while True:
            first, second = take(2)
            fin, rsv, opcode = first >> 7, first >> 4 & 7, first & 0xF
            length = second & 0x7F
            if rsv or opcode not in DATA + CONTROL or not second & 0x80:
                raise Fault(1002)
            if opcode in CONTROL and (length > 125 or not fin):
                raise Fault(1002)
            if length >= 126:
                shortest = 126 if length == 126 else 65536
                length = int.from_bytes(take(2 if length == 126 else 8), "big")
                if length < shortest or length >= 1 << 63:
                    raise Fault(1002)
            if opcode in CONTROL:
                key = take(4)
                payload = unmask(take(length), key)
                if opcode == CLOSE:
                    found.append((position, kinds.CLOSE, close(payload)))
                    return found
                found.append((position, KINDS[opcode], payload))
                continue
            if (message is None) == (opcode == CONT):
                raise Fault(1002)
            kind, before, count = message or (opcode, b"", 0)
            if count == max_fragments or len(before) + length > max_message_size:
                raise Fault(1009)
            key = take(4)
            available = stream[position : position + length]
            so_far = before + unmask(available, key)
            whole = bool(fin) and len(available) == length
            if kind == TEXT and not (is_utf8(so_far) if whole else may_become_utf8(so_far)):
                raise Fault(1007)
            take(length)
            message = None if fin else (kind, so_far, count + 1)
            if fin:
                found.append((position, kind, so_far.decode() if kind == TEXT else so_far))
    except Incomplete:
        return found
    except Fault as fault:
        return [*found, (len(stream), kinds.PROTOCOL_ERROR, fault.args[0])]


def unmask(payload: bytes, key: bytes) -> bytes:
    return bytes(octet ^ key[i % 4] for i, octet in enumerate(payload))


def close(payload: bytes) -> tuple[int, str]:
    """Return the code and reason in a close frame."""
    if not payload:
        return 1005, ""
    code = int.from_bytes(payload[:2], "big")
    registered = {*range(1000, 1015)} - {1004, 1005, 1006}
    if len(payload) == 1 or not (code in registered or 3000 <= code <= 4999):
        raise Fault(1002)
    if not is_utf8(payload[2:]):
        raise Fault(1007)
    return code, payload[2:].decode()


def is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def may_become_utf8(prefix: bytes) -> bool:
    """Say whether some UTF-8 text begins so: bytes 80, or BF, complete any unfinished character."""
    return any(is_utf8(prefix + octet * n) for octet in (b"\x80", b"\xbf") for n in range(4))

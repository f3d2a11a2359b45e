"""Frames: the bytes of RFC 6455 §5, as pure functions."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from typing import Union

try:
    import numpy  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    numpy = None  # type: ignore[assignment,unused-ignore]

# Opcodes, RFC 6455 §5.2
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

FIN = 0x80
MASK_BIT = 0x80
"""In the second byte of a frame: a masking key and a masked payload follow."""
RSV1, RSV2, RSV3 = 0x40, 0x20, 0x10
MAX_CONTROL_PAYLOAD = 125
"""Longest payload of a control frame, in bytes (RFC 6455 §5.5)."""

KEYS_AT_ONCE = 256
"""Masking keys are got from the system in this number, which takes a tenth of the time."""

Buffer = Union[bytes, bytearray, memoryview]

SHORT_HEADERS = {
    opcode: tuple(bytes((FIN | opcode, length)) for length in range(126))
    for opcode in (CONT, TEXT, BINARY, CLOSE, PING, PONG, RSV1 | TEXT, RSV1 | BINARY)
}
"""The two header bytes of each final, unmasked frame of under 126 bytes: by opcode, then length."""
_IDENTITY = int.from_bytes(bytes(range(256)), "little")
_XOR_TABLES = tuple(
    (_IDENTITY ^ int.from_bytes(bytes((key,)) * 256, "little")).to_bytes(256, "little")
    for key in range(256)
)
_REPEAT = tuple(int.from_bytes(b"\1\0\0\0" * words, "little") for words in range(129))
_from_bytes = int.from_bytes
_pack_16, _pack_64 = struct.Struct("!BBH").pack, struct.Struct("!BBQ").pack


_keys: list[bytes] = []  # masking keys that nothing was masked with so far


class CloseCode:
    """The close codes that the library itself uses (RFC 6455 §7.4.1)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    NO_STATUS = 1005
    """The peer's close frame had no code. Never sent."""
    ABNORMAL = 1006
    """TCP ended without a closing handshake. Never sent."""
    INVALID_PAYLOAD = 1007
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011


class ProtocolError(Exception):
    """The peer broke the protocol: close the connection with `code` and `reason`.

    RFC 6455 §7.1.7 calls this "Fail the WebSocket Connection".
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code: int = code
        self.reason: str = reason


def unmask(payload: Buffer, key: bytes) -> bytes | bytearray:
    """XOR *payload* with the four bytes of *key*, over and over (RFC 6455 §5.3)."""
    length = len(payload)
    if length < 512:  # one big integer is fastest up to here
        words = (length + 3) >> 2
        xored = _from_bytes(payload, "little") ^ _from_bytes(key, "little") * _REPEAT[words]
        return xored.to_bytes(words << 2, "little")[:length]
    data = bytearray(payload)
    _unmask_in_place(data, key, 0)
    return data


def _unmask_in_place(data: bytearray, key: bytes, start: int) -> None:
    """Do the same to what is in *data* from *start* on."""
    length = len(data)
    if numpy and length - start >= 1024:  # defence: unmask-numpy
        first = (start + 3) & ~3  # numpy is much slower where words aren't aligned
        turn = first - start
        last = first + ((length - first) & ~3)
        view = numpy.frombuffer(data, "<u4", (last - first) >> 2, first)
        view ^= numpy.frombuffer(key[turn:] + key[:turn], "<u4")
        for i in (*range(start, first), *range(last, length)):
            data[i] ^= key[(i - start) & 3]
        return
    for i, octet in enumerate(key, start):
        data[i::4] = data[i::4].translate(_XOR_TABLES[octet])  # defence: unmask-bytes


def frame(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    """Return one unmasked frame, as a server sends it (RFC 6455 §5.2).

    Args:
        opcode: One of the opcodes above, with RSV1 if the payload is compressed.
        payload: The payload, of any length.
        fin: Whether this is the last frame of its message.
    """
    length = len(payload)
    if length < 126 and fin:
        return SHORT_HEADERS[opcode][length] + payload
    first = opcode | FIN if fin else opcode
    if length < 126:
        return bytes((first, length)) + payload
    if length < 65536:
        return _pack_16(first, 126, length) + payload
    return _pack_64(first, 127, length) + payload


def mask(data: bytes) -> Buffer:
    """Mask one unmasked frame with a fresh key, as a client must send it (RFC 6455 §5.3, §10.3)."""
    try:
        key = _keys.pop()
    except IndexError:
        random = os.urandom(4 * KEYS_AT_ONCE)
        _keys.extend([random[i : i + 4] for i in range(0, len(random), 4)])
        key = os.urandom(4)  # others may have taken all of them
    length = data[1]
    if length < 126:
        return bytes((data[0], MASK_BIT | length)) + key + unmask(data[2:], key)
    start = 4 if length == 126 else 10
    masked = bytearray(data[:start])
    masked[1] |= MASK_BIT
    masked += key
    masked += memoryview(data)[start:]
    _unmask_in_place(masked, key, start + 4)
    return masked


def masked_frame(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    """Return one masked frame, as a client sends it; otherwise as `frame`."""
    return bytes(mask(frame(opcode, payload, fin)))


def valid_close_code(code: int) -> bool:
    """Say whether *code* may stand in a close frame (RFC 6455 §7.4, and the IANA registry)."""
    return 3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in (1004, 1005, 1006))


def close_payload(code: int, reason: str = "") -> bytes:
    """Return the payload of a close frame; empty for 1005, "no status" (RFC 6455 §5.5.1).

    Raises:
        ValueError: The code may not be sent, or the reason has over 123 bytes in UTF-8.
    """
    if code == CloseCode.NO_STATUS:
        return b""
    if not valid_close_code(code):
        raise ValueError(f"close code {code} may not be sent: use 1000 or 3000 to 4999")
    payload = struct.pack("!H", code) + reason.encode()
    if len(payload) > MAX_CONTROL_PAYLOAD:
        raise ValueError("a close reason may have at most 123 bytes of UTF-8")
    return payload


def parse_close(payload: bytes) -> tuple[int, str]:
    """Return the code and the reason in the payload of a received close frame.

    Returns:
        (1005, "") for an empty payload (RFC 6455 §7.1.5).

    Raises:
        ProtocolError: The payload is malformed.
    """
    if not payload:
        return CloseCode.NO_STATUS, ""
    if len(payload) == 1:
        raise ProtocolError(CloseCode.PROTOCOL_ERROR, "close payload of one byte")
    code = payload[0] << 8 | payload[1]
    if not valid_close_code(code):
        raise ProtocolError(CloseCode.PROTOCOL_ERROR, f"invalid close code {code}")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise ProtocolError(CloseCode.INVALID_PAYLOAD, "close reason is not UTF-8") from None


with suppress(AttributeError):  # Windows has no fork
    os.register_at_fork(after_in_child=_keys.clear)  # or two processes would use the same

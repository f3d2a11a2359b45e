"""A message that is not complete yet, in little memory."""

from __future__ import annotations

from codecs import utf_8_decode
from itertools import groupby
from sys import getsizeof
from typing import Any

from .frames import Buffer

SMALL_BYTES = 1 << 12
"""Shorter pieces are collected. Longer ones of text are kept decoded, if that takes little more
memory."""
PART_BYTES = 1 << 16
"""This many bytes of short pieces are collected in one part."""
PART_OVERHEAD_BYTES = 80
"""The memory that each part takes besides its bytes."""


class PartialMessage:
    """The pieces of one message. Joining them takes linear time, however small they are.

    Text is kept as UTF-8, because a single wide character may make all the others of a str take
    four bytes. Only long pieces that take no more memory as str are kept so, to be decoded once.

    Args:
        text: Whether it is text, which is checked as it comes (RFC 6455 §8.1).
    """

    __slots__ = ("_character", "_parts", "_surplus", "size", "text")

    def __init__(self, text: bool) -> None:
        self.text: bool = text
        self.size: int = 0
        """Bytes so far, in UTF-8."""
        self._parts: list[Any] = []  # str, bytes or bytearray
        self._surplus = 0  # memory that those of str take beyond their UTF-8; may be negative
        self._character = b""  # the bytes of the last character, if that is incomplete

    @property
    def held(self) -> int:
        """Bytes of memory that it takes."""
        return self.size + self._surplus + PART_OVERHEAD_BYTES * len(self._parts)

    def add(self, payload: Buffer) -> None:
        """Add the next piece. A bytearray belongs to the message from now on.

        Raises:
            UnicodeDecodeError: It is text, and can't become valid UTF-8 any more.
        """
        size = len(payload)
        self.size += size
        piece: Any = self._check(payload) if self.text else payload
        parts = self._parts
        if size < SMALL_BYTES:
            last = parts[-1] if parts else None
            if isinstance(last, bytearray) and len(last) < PART_BYTES:  # defence: joined-parts
                last += piece  # it grows by an eighth at a time, so no byte is moved often
                return
            piece = bytearray(piece)
        elif isinstance(piece, str):
            self._surplus += getsizeof(piece) - size
        parts.append(piece)

    def _check(self, payload: Buffer) -> str | Buffer:
        """Return the complete characters of the next piece, as they are to be kept."""
        is_long = len(payload) >= SMALL_BYTES
        if self._character:
            payload = self._character + payload
        text, used = utf_8_decode(payload, "strict", False)
        self._character = character = bytes(payload[used:])
        # The decoder waits for the third byte of a surrogate, which can't become valid.
        if character[:1] == b"\xed" and character[1:] >= b"\xa0":
            raise UnicodeDecodeError("utf-8", character, 0, len(character), "a surrogate")
        if is_long and getsizeof(text, 5 * used) * 4 <= used * 5:  # defence: text-as-bytes
            return text
        return payload[:used] if character else payload

    def check_end(self) -> None:
        """Check that the message may end here.

        Raises:
            UnicodeDecodeError: It ends within a character.
        """
        if self._character:
            text = self._character
            raise UnicodeDecodeError("utf-8", text, 0, len(text), "unexpected end of data")

    def join(self) -> str | bytes:
        """Return the whole message."""
        if not self.text:
            return b"".join(self._parts)
        texts: list[str] = []
        for kind, run in groupby(self._parts, type):
            if kind is str:
                texts.extend(run)
            else:
                texts.append(b"".join(run).decode())
        return "".join(texts)

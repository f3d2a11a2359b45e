"""The state machine of one connection: bytes in, events out."""

from __future__ import annotations

from codecs import utf_8_decode
from typing import Any, Callable, Iterator

from . import events
from .deflate import Deflate
from .events import URGENT, YIELD_TURN, Event
from .frames import BINARY, CLOSE, CONT, FIN, MASK_BIT, MAX_CONTROL_PAYLOAD, PING, PONG, RSV1
from .frames import TEXT, Buffer, CloseCode, ProtocolError, close_payload, frame, masked_frame
from .frames import parse_close, unmask

TURN_BYTES = 1 << 20
"""Bytes that are unmasked and inflated between two YIELD_TURN events; a millisecond or two."""
FRAGMENT_BYTES = 1 << 10
"""Bytes that each fragment adds to the work, besides its payload: empty ones take time, too."""
MAX_PARTS = 256
"""An unfinished message of this many parts is joined: each part takes about 60 bytes by itself."""

_NOT_UTF8 = CloseCode.INVALID_PAYLOAD, "text is not UTF-8"
_TEXT_MESSAGE, _BINARY_MESSAGE = FIN | TEXT, FIN | BINARY  # first bytes of whole messages
_WHOLE = frozenset((_TEXT_MESSAGE, _BINARY_MESSAGE))
_FIRST_BYTES = frozenset(
    (CONT, TEXT, BINARY, *(FIN | opcode for opcode in (CONT, TEXT, BINARY, CLOSE, PING, PONG)))
)
_COMPRESSED_WHOLE = frozenset(RSV1 | first for first in _WHOLE)
_COMPRESSED_FIRST_BYTES = _COMPRESSED_WHOLE | {RSV1 | TEXT, RSV1 | BINARY}
_from_bytes = int.from_bytes


class Protocol:
    """The receiving half of RFC 6455 §5 and the closing handshake of §7, in the role of a server.

    Args:
        max_message_size: Bytes of payload that one message may have, all its fragments together.
            A frame whose *declared* length exceeds it fails with 1009 before any of it is kept.
        max_fragments: Frames that one message may consist of, empty ones included. One more
            fails with 1009.
    """

    __slots__ = (
        "_character _compressed _deflate _fin _first_bytes _fragments _key _key_size "
        "_longest_whole _mask_bit _message _opcode _pending _remaining _size _whole _work "
        "close_sent done max_fragments max_message_size more"
    ).split()

    # The role (RFC 6455 §5.1): a server gets masked frames, and sends unmasked ones.
    frame: Callable[..., bytes] = staticmethod(frame)
    """Returns one frame as this role sends it, see `frames.frame`."""
    _masked = True  # whether the frames that come are masked

    def __init__(self, max_message_size: int = 1 << 20, max_fragments: int = 1 << 17) -> None:
        self.max_message_size: int = max_message_size
        self.max_fragments: int = max_fragments
        self._mask_bit, self._key_size = (MASK_BIT, 4) if self._masked else (0, 0)
        # Largest payload for the fast path; -1 inside a fragmented message, and when closing
        self._longest_whole = max_message_size
        self._first_bytes = _FIRST_BYTES  # valid first bytes of a frame
        self._whole = _WHOLE  # first bytes of a whole message
        self._deflate: Deflate | None = None
        self.more: bool = False
        """Whether bytes that came with the last event are still to be parsed."""
        self.close_sent: bool = False
        self.done: bool = False
        """Whether the last event was yielded. Bytes after it are ignored (RFC 6455 §1.4)."""
        self._pending = b""  # an incomplete header, or an incomplete control frame
        self._message: list[Any] | None = None  # the parts of an unfinished message
        self._size = 0  # its bytes so far
        self._work = 0  # bytes since the last YIELD_TURN
        self._character = b""  # the bytes of its last character, if that is incomplete
        self._opcode = 0  # the message's opcode
        self._compressed = False  # whether its payload is to be inflated
        self._fragments = 0  # its frames so far
        self._remaining = 0  # payload bytes of the current frame that have not come
        self._key = b""  # the frame's masking key, rotated to the next payload byte
        self._fin = True

    def use(self, deflate: Deflate) -> None:
        """Accept compressed messages, because that was agreed on (RFC 7692 §6)."""
        self._deflate = deflate
        self._first_bytes = _FIRST_BYTES | _COMPRESSED_FIRST_BYTES
        self._whole = _WHOLE | _COMPRESSED_WHOLE

    def feed(self, data: bytes) -> Iterator[Event]:
        """Parse *data* and yield its events, each as soon as it is known.

        Parsing continues only when the next event is asked for. So a reply to a message can
        leave before a fault in the very next frame is found. Iterate to the end before feeding
        again. After `close` was called, messages are no longer reported.
        """
        if self.done:
            return
        if self._pending:
            data = self._pending + data
            self._pending = b""
        position, end = 0, len(data)
        mask_bit, key_size = self._mask_bit, self._key_size
        try:
            if self._remaining:
                position = min(self._remaining, end)
                self.more = position < end
                event = self._append(memoryview(data)[:position])
                if event and not self.close_sent:
                    yield event
            while end - position >= 2:
                first = data[position]
                length = data[position + 1] ^ mask_bit  # over 127 if the mask bit is wrong
                start = position + 2 + key_size
                if length > MAX_CONTROL_PAYLOAD:
                    if length > 127:  # defence: mask-bit
                        what = "a client must" if self._masked else "a server must not"
                        reason = f"frame from {what} be masked"
                        raise ProtocolError(CloseCode.PROTOCOL_ERROR, reason)
                    self._check_first(first, length)
                    start += 2 if length == 126 else 8
                    if end < start - key_size:
                        break
                    short = length == 126
                    length = _from_bytes(data[position + 2 : start - key_size], "big")
                    # defence: length-form
                    if length < (126 if short else 65536) or length >> 63:
                        what = (
                            "with the top bit set" if length >> 63 else "not in its shortest form"
                        )
                        raise ProtocolError(CloseCode.PROTOCOL_ERROR, f"length {what}")
                stop = start + length
                # The fast path, for a whole message in one frame. The other branch takes any frame.
                if first in self._whole and stop <= end and length <= self._longest_whole:
                    payload: Any = data[start:stop]
                    if key_size:
                        payload = unmask(payload, data[start - 4 : start])
                    position = stop
                    self.more = stop < end
                    if first == _TEXT_MESSAGE:
                        yield TEXT, payload.decode()
                        continue
                    if first == _BINARY_MESSAGE:
                        yield BINARY, bytes(payload)
                        continue
                    payload = self._inflate(payload, self.max_message_size, True)
                    yield (TEXT, payload.decode()) if first & TEXT else (BINARY, payload)
                else:
                    self._check_first(first, length)
                    control = first & 0x08
                    if not control:
                        self._check_frame(first, length)
                    if end < (stop if control else start):
                        break
                    position = stop
                    self.more = stop < end
                    if control:
                        payload = data[start:stop]
                        if key_size:
                            payload = bytes(unmask(payload, data[start - 4 : start]))
                        self.done = first == FIN | CLOSE
                        if self.done:
                            yield events.CLOSE, parse_close(payload)
                            return  # defence: close-ends-parsing
                        yield URGENT | first & 0x0F, payload
                        continue
                    self._begin(first, length, data[start - key_size : start])
                    event = self._append(memoryview(data)[start:stop])
                    if event and not self.close_sent:
                        yield event
                if self._work >= TURN_BYTES:
                    self._work = 0
                    yield YIELD_TURN, ""
            if position < end:
                self._pending = data[position:]
            self.more = False
        except (ProtocolError, UnicodeDecodeError) as error:
            self.done, self.more = True, False
            fault = error.args if isinstance(error, ProtocolError) else _NOT_UTF8
            yield events.PROTOCOL_ERROR, fault

    def end(self) -> None:
        """Release the memory of an unfinished message. `feed` does nothing from now on."""
        self.done, self.more = True, False
        self._message = self._deflate = None
        self._pending = b""

    def close(self, code: int, reason: str = "") -> bytes:
        """Return the close frame to send, or b"" if one was sent already (RFC 6455 §5.5.1).

        Raises:
            ValueError: The code or the reason may not be sent.
        """
        if self.close_sent:
            return b""
        closing = self.frame(CLOSE, close_payload(code, reason))
        self.close_sent = True
        self._longest_whole = -1
        return closing

    def _check_first(self, first: int, length: int) -> None:
        """Refuse a frame by its first byte, or a control frame by its length."""
        if first not in self._first_bytes:  # defence: reserved-bits
            if first & 0x70:
                what = "reserved bit set that no extension gives a meaning"
            elif FIN | first not in _FIRST_BYTES:
                what = f"reserved opcode {first & 0x0F:#x}"
            else:
                what = "fragmented control frame"
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, what)
        if length > MAX_CONTROL_PAYLOAD and first & 0x08:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "control frame over 125 bytes")

    def _check_frame(self, first: int, length: int) -> None:
        """Refuse a data frame that comes out of turn, or whose declared length is too large."""
        first_frame = self._message is None
        if first_frame is (first & 0x0F == CONT):
            what = "continuation of no" if first_frame else "another message inside a fragmented"
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, f"{what} message")
        if not first_frame and self._fragments >= self.max_fragments:  # defence: fragment-count
            reason = f"message of over {self.max_fragments} fragments"
            raise ProtocolError(CloseCode.TOO_BIG, reason)
        size = length if first_frame else length + self._size  # defence: summed-size
        if first & RSV1 if first_frame else self._compressed:  # deflate makes random data longer
            size -= (size >> 8) + 64
        if size > self.max_message_size:  # defence: message-size
            raise ProtocolError(CloseCode.TOO_BIG, f"message of over {self.max_message_size} bytes")

    def _begin(self, first: int, length: int, key: bytes) -> None:
        """Start a frame of a fragmented message, or one that has come only in part."""
        if self._message is None:
            self._message = []
            self._opcode = first & 0x0F
            self._compressed = bool(first & RSV1)
            self._fragments = self._size = 0
            self._character = b""
            self._longest_whole = -1
        self._fragments += 1
        self._fin = first >= FIN
        self._remaining = length
        self._key = key

    def _append(self, masked: memoryview) -> Event | None:
        """Add the next part of the frame's payload. Return the message if it is complete."""
        parts = self._message
        assert parts is not None
        self._remaining -= len(masked)
        complete = self._fin and not self._remaining
        payload: Any = unmask(masked, self._key) if self._key else bytes(masked)
        if self._compressed:
            # defence: inflated-left
            payload = self._inflate(payload, self.max_message_size - self._size, complete)
        else:
            self._work += len(payload) + FRAGMENT_BYTES
        self._size += len(payload)
        if self._opcode == TEXT:
            payload = self._decode(payload, complete)
        if payload:
            parts.append(payload)
        if complete or len(parts) >= MAX_PARTS:  # defence: text-parts
            parts[:] = [("" if self._opcode == TEXT else b"").join(parts)]
        if complete:
            self._message = None
            if not self.close_sent:
                self._longest_whole = self.max_message_size
            return self._opcode, parts[0]
        turn = len(masked) & 3
        self._key = self._key[turn:] + self._key[:turn]  # defence: masking-key
        return None

    def _inflate(self, payload: Buffer, room: int, complete: bool) -> bytes:
        """Inflate the next part of a message, which may have up to *room* more bytes."""
        assert self._deflate
        inflated = self._deflate.inflate(payload, room, complete)
        if len(inflated) > room:
            raise ProtocolError(CloseCode.TOO_BIG, f"message of over {self.max_message_size} bytes")
        self._work += len(inflated) + FRAGMENT_BYTES
        return inflated

    def _decode(self, payload: Buffer, final: bool) -> str:
        """Decode the next part of a text, up to its last complete character (RFC 6455 §8.1)."""
        if self._character:
            payload = self._character + payload
        text, used = utf_8_decode(payload, "strict", final)
        self._character = character = bytes(payload[used:])
        # The decoder waits for the third byte of a surrogate, which can't become valid.
        if character[:1] == b"\xed" and character[1:] >= b"\xa0":
            raise UnicodeDecodeError("utf-8", character, 0, len(character), "a surrogate")
        return text


class ClientProtocol(Protocol):
    """The same in the role of a client: it gets unmasked frames, and sends masked ones (§5.1)."""

    __slots__ = ()

    frame = staticmethod(masked_frame)
    _masked = False

"""The state machine of one connection: bytes in, events out."""

from __future__ import annotations

from typing import Callable, Iterator, NoReturn

from . import events
from .deflate import Deflate
from .events import URGENT, YIELD_TURN, Event
from .frames import BINARY, CLOSE, CONT, FIN, MASK_BIT, MAX_CONTROL_PAYLOAD, PING, PONG, RSV1
from .frames import TEXT, Buffer, CloseCode, ProtocolError, close_payload, frame, masked_frame
from .frames import parse_close, unmask
from .partial import PartialMessage

TURN_BYTES = 1 << 18
"""Work after which others have a turn, in bytes that are unmasked or inflated: half a millisecond
to one. Smaller frames and compressed bytes count for more, as the next two say."""
FRAGMENT_BYTES = 1 << 10
"""What each fragment and each call of the inflater add to the work: empty ones take time, too."""
INFLATE_FACTOR = 48  # defence: input-is-work
"""What each compressed byte adds to the work. It takes up to 70 ns, even if nothing comes out of
it: deflate has blocks that are nothing but the tables of a code."""
LONG_TURN_BYTES = 6 * TURN_BYTES
"""Work after which others have a turn in the middle of a frame. It is more than a message of the
default size takes, because those that are interrupted hold memory, all at the same time."""
SLICE_BYTES = 1 << 14
"""Compressed bytes that are inflated in one step, of a millisecond at most."""
PIECE_BYTES = (1 << 20) + 1
"""Bytes that one step may inflate to: one more than the default of `max_message_size`."""

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
        "_compressed _declared _deflate _fin _first_bytes _fragments _input _key _key_size "
        "_longest_whole _mask_bit _message _pending _remaining _unfinished _whole _work "
        "close_sent done holding max_fragments max_message_size more"
    ).split()

    # The role (RFC 6455 §5.1): a server gets masked frames, and sends unmasked ones.
    frame: Callable[..., bytes] = staticmethod(frame)
    """Returns one frame as this role sends it, see `frames.frame`."""
    _masked = True  # whether the frames that come are masked
    _unmask: Callable[[Buffer, bytes], bytes | bytearray] = staticmethod(
        unmask
    )  # a payload, by its key

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
        self.holding: bool = False
        """Whether `held` may be over 0. Who has found that it isn't sets this to False."""
        self.close_sent: bool = False
        self.done: bool = False
        """Whether the last event was yielded. Bytes after it are ignored (RFC 6455 §1.4)."""
        self._pending = b""  # an incomplete header, or an incomplete control frame
        self._input = 0  # bytes given to `feed` that are being parsed
        self._work = 0  # see TURN_BYTES
        self._message: PartialMessage | None = None  # an unfinished message
        self._declared = 0  # its bytes so far, and those to come of the current frame
        self._compressed = False  # whether its payload is to be inflated
        self._unfinished = False  # whether the inflater may have more of what it was given
        self._fragments = 0  # its frames so far
        self._remaining = 0  # payload bytes of the current frame that have not come
        self._key = b""  # the frame's masking key, rotated to the next payload byte
        self._fin = True

    @property
    def held(self) -> int:
        """Bytes of memory that wait here for more input, or for their turn.

        They are those of the unfinished message, of the input that isn't parsed yet, and of the
        inflater's window. Only the thread that feeds may ask.
        """
        held = self._input + len(self._pending)
        if self._message:
            held += self._message.held
        if self._deflate:
            held += self._deflate.inflater_held
        return held

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
        self._input, self._work = end, 0
        mask_bit, key_size, unmask = self._mask_bit, self._key_size, self._unmask
        # At a yield, no variable here may hold a payload or a message: it may be long until others
        # have had their turn, and there may be hundreds of them.
        try:
            if self._remaining:
                position = min(self._remaining, end)
                self.more = position < end
                masked = memoryview(data)[:position]
                if self._append(masked):
                    yield from self._append_long(masked)
                if self._fin and not self._remaining and self._end_message():
                    yield self._take_message()
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
                    position = stop
                    self.more = stop < end
                    if not key_size:
                        if first == _TEXT_MESSAGE:
                            yield TEXT, data[start:stop].decode()
                            continue
                        if first == _BINARY_MESSAGE:
                            yield BINARY, data[start:stop]
                            continue
                    key = data[start - key_size : start]
                    if first == _TEXT_MESSAGE:
                        yield TEXT, unmask(data[start:stop], key).decode()
                        continue
                    if first == _BINARY_MESSAGE:
                        yield BINARY, bytes(unmask(data[start:stop], key))
                        continue
                    if length <= SLICE_BYTES:
                        payload = unmask(data[start:stop], key)
                        inflated = [self._inflate(payload, self.max_message_size, True)]
                        del payload
                        if self._unfinished:
                            self._begin(first, 0, key).add(inflated.pop())
                            start = stop
                        elif first & TEXT:
                            yield TEXT, inflated.pop().decode()
                        else:
                            yield BINARY, inflated.pop()
                    else:
                        self._begin(first, length, key)
                else:
                    if first not in self._first_bytes:
                        self._check_first(first, length)
                    control = first & 0x08
                    if not control:
                        self._check_frame(first, length)
                    if end < (stop if control else start):
                        break
                    position = stop
                    self.more = stop < end
                    if control:
                        payload = bytes(unmask(data[start:stop], data[start - key_size : start]))
                        if first == FIN | CLOSE:
                            closing = parse_close(payload)
                            self.end()
                            yield events.CLOSE, closing
                            return  # defence: close-ends-parsing
                        yield URGENT | first & 0x0F, payload
                        continue
                    self._begin(first, length, data[start - key_size : start])
                if self._message:
                    masked = memoryview(data)[start:stop]
                    if self._append(masked):
                        yield from self._append_long(masked)
                    if self._fin and not self._remaining and self._end_message():
                        yield self._take_message()
                if self._work >= TURN_BYTES and position < end:
                    self._work = 0
                    yield YIELD_TURN, ""
            if position < end:
                self._pending = data[position:]
                self.holding = True
            self.more = False
        except (ProtocolError, UnicodeDecodeError) as error:
            self.end()
            fault = error.args if isinstance(error, ProtocolError) else _NOT_UTF8
            yield events.PROTOCOL_ERROR, fault
        finally:
            self._input = 0

    def end(self) -> None:
        """Let go of all memory. `feed` does nothing from now on."""
        self.done, self.more = True, False
        if self._deflate:
            self._deflate.end()
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
        size = length if first_frame else length + self._declared  # defence: summed-size
        if first & RSV1 if first_frame else self._compressed:
            # What comes out is held to the limit. Deflate makes some data longer, but no encoder
            # doubles it.
            size = (size >> 1) - 512
        if size > self.max_message_size:  # defence: message-size
            self._fail_too_big()

    def _begin(self, first: int, length: int, key: bytes) -> PartialMessage:
        """Start a frame of a fragmented message, or one that has come only in part."""
        message = self._message
        if message is None:
            message = self._message = PartialMessage(first & 0x0F == TEXT)
            self.holding = True
            self._compressed = bool(first & RSV1)
            self._fragments = self._declared = 0
            self._longest_whole = -1
        self._fragments += 1
        self._fin = first >= FIN
        self._declared += length
        self._remaining = length
        self._key = key
        return message

    def _append(self, masked: memoryview) -> bool:
        """Add the next part of the frame's payload. Return whether to call `_append_long`."""
        message = self._message
        assert message
        size = len(masked)
        if not self._compressed:
            self._work += size + FRAGMENT_BYTES
            message.add(self._unmask(masked, self._key))
        elif size > SLICE_BYTES or self._unfinished:
            return True
        else:
            room = self.max_message_size - message.size  # defence: inflated-left
            last = self._fin and size == self._remaining
            message.add(self._inflate(self._unmask(masked, self._key), room, last))
            if self._unfinished:
                return True
        self._advance(size)
        return False

    def _append_long(self, masked: memoryview) -> Iterator[Event]:
        """Inflate the next part of the frame's payload in slices, or the rest of a short one."""
        message = self._message
        assert message
        starts = range(0, 0 if self._unfinished else len(masked), SLICE_BYTES)
        slices = [masked[start : start + SLICE_BYTES] for start in starts]
        last = self._fin and len(masked) == self._remaining
        while slices or self._unfinished:
            if self._work >= LONG_TURN_BYTES:
                self._work = 0
                yield YIELD_TURN, ""
            room = self.max_message_size - message.size
            payload = None if self._unfinished else self._unmask(slices.pop(0), self._key)
            message.add(self._inflate(payload, room, last and not slices))
            del payload
        self._advance(len(masked))

    def _advance(self, size: int) -> None:
        """Note that this many bytes of the frame's payload were taken."""
        self._remaining -= size
        turn = size & 3
        self._key = self._key[turn:] + self._key[:turn]  # defence: masking-key

    def _end_message(self) -> bool:
        """Note that the message is complete. Return whether it is to be reported."""
        assert self._message
        self._message.check_end()
        if self.close_sent:
            self._message = None
            return False
        self._longest_whole = self.max_message_size
        return True

    def _take_message(self) -> Event:
        """Return the complete message, and let go of it."""
        message, self._message = self._message, None
        assert message
        return TEXT if message.text else BINARY, message.join()

    def _inflate(self, payload: Buffer | None, room: int, last: bool) -> bytes:
        """Inflate the next slice of a message, or with None, more of the one before.

        The message may have up to *room* more bytes.
        """
        assert self._deflate
        most = room + 1 if room < PIECE_BYTES else PIECE_BYTES
        inflated = self._deflate.inflate(payload, most, last)
        size = len(inflated)
        if size > room:
            self._fail_too_big()
        self._unfinished = size == most
        self._work += size + FRAGMENT_BYTES
        if payload:
            self._work += len(payload) * INFLATE_FACTOR
        if self._deflate.in_takeover:
            self.holding = True
        return inflated

    def _fail_too_big(self) -> NoReturn:
        raise ProtocolError(CloseCode.TOO_BIG, f"message of over {self.max_message_size} bytes")


def _unmasked(payload: Buffer, key: bytes) -> bytes:
    """Return a payload that came without a mask."""
    return bytes(payload)


class ClientProtocol(Protocol):
    """The same in the role of a client: it gets unmasked frames, and sends masked ones (§5.1)."""

    __slots__ = ()

    frame: Callable[..., bytes] = staticmethod(masked_frame)
    _masked = False
    _unmask = staticmethod(_unmasked)

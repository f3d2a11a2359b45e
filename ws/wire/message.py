"""Messages to send: encoded as frames, in one or in fragments, for one client or for many."""

from __future__ import annotations

from typing import Iterable, Iterator, Mapping, Sequence, Union

from .deflate import Deflate
from .frames import BINARY, CONT, RSV1, SHORT_HEADERS, TEXT, Buffer, frame, mask

Message = Union[str, Buffer]

SMALL_BYTES = 128
"""A frame up to this size is cheaper to copy than to share."""


def encode(message: Message) -> bytes:
    """Return a message as one frame: str as text, bytes-like as binary (RFC 6455 §5.6).

    Raises:
        TypeError: The message has another type.
        UnicodeEncodeError: A str has a lone surrogate.
    """
    if isinstance(message, str):
        opcode, payload = TEXT, message.encode()
    elif isinstance(message, (bytes, bytearray, memoryview)):
        opcode, payload = BINARY, bytes(message)
    else:
        raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
    if len(payload) < 126:
        return SHORT_HEADERS[opcode][len(payload)] + payload
    return frame(opcode, payload)


def fragments(chunks: Iterable[Message]) -> Iterator[bytes]:
    """Yield the frames of one message: one for each chunk, and an empty last one (RFC 6455 §5.4).

    Raises:
        TypeError: The chunks are not all str, or not all bytes-like; or it is a mapping, of which
            only the keys would be sent.
    """
    if isinstance(chunks, Mapping) or not isinstance(chunks, Iterable):
        raise TypeError(
            f"a message is str, bytes or an iterable of them, not {type(chunks).__name__}"
        )
    text: bool | None = None
    for chunk in chunks:
        if isinstance(chunk, str):
            payload = chunk.encode()
        elif isinstance(chunk, (bytes, bytearray, memoryview)):
            payload = bytes(chunk)
        else:
            raise TypeError(f"a fragment is str or bytes, not {type(chunk).__name__}")
        if text is None:
            text = isinstance(chunk, str)
            yield frame(TEXT if text else BINARY, payload, fin=False)
        elif text is isinstance(chunk, str):
            yield frame(CONT, payload, fin=False)
        else:
            raise TypeError("the fragments of a message must be all str or all bytes")
    yield frame(TEXT if text is None else CONT, b"")


def sharable(data: bytes) -> Buffer:
    """Return bytes that many may hold: as a view, which marks them, or if they are few, as such."""
    return memoryview(data) if len(data) > SMALL_BYTES else data


class PreparedMessage:
    """A message that is encoded once for any number of clients.

    It is compressed when a client first needs it compressed. Other clients share the result.

    Args:
        plain: The message as one frame, for clients without compression.
        compress: Whether to compress it for clients with compression. With None,
            `Compression.threshold` decides.
        shared: Whether it is for many clients.
    """

    __slots__ = ("_compress", "_deflated", "_shared", "buffer", "plain")

    count: int = 1
    """How many messages this is."""

    def __init__(self, plain: bytes, compress: bool | None = None, shared: bool = False) -> None:
        self.plain: bytes = plain
        self.buffer: Buffer = sharable(plain) if shared else plain
        """What to send to clients without compression."""
        self._compress, self._shared = compress, shared
        self._deflated: dict[int, Buffer] = {}  # the compressed frame, by window bits

    @property
    def messages(self) -> Sequence[PreparedMessage]:
        """The messages in it: this one."""
        return (self,)

    def is_compressed_for(self, deflate: Deflate) -> bool:
        """Say whether a client with this extension gets the message compressed."""
        size = len(self.plain) - self._header_size()
        if self._compress is None:
            return size > 0 and size >= deflate.settings.threshold
        return size > 0 and self._compress

    def deflated(self, deflate: Deflate) -> Buffer:
        """Return the compressed frame for a client with this extension (RFC 7692 §6.1).

        With context takeover, a client must get these frames in the order of the calls.
        """
        bits = deflate.out_bits
        if not deflate.out_takeover and bits in self._deflated:
            return self._deflated[bits]
        payload = self.plain[self._header_size() :]
        data = frame(self.plain[0] & 0x0F | RSV1, deflate.deflate(payload))
        if deflate.out_takeover:
            return data
        self._deflated[bits] = buffer = sharable(data) if self._shared else data
        return buffer

    def _header_size(self) -> int:
        length = self.plain[1]
        return 2 if length < 126 else 4 if length == 126 else 10


class PreparedMessages:
    """Several prepared messages in a row, for clients that get all of them."""

    __slots__ = ("buffer", "count", "messages")

    def __init__(self, messages: Sequence[PreparedMessage]) -> None:
        self.messages: Sequence[PreparedMessage] = messages
        self.count: int = len(messages)
        self.buffer: Buffer = sharable(b"".join([message.plain for message in messages]))


class MaskedMessage(PreparedMessage):
    """A client's message for its server: as `PreparedMessage`, but sent masked."""

    __slots__ = ()

    def __init__(self, plain: bytes, compress: bool | None = None) -> None:
        super().__init__(plain, compress)
        self.buffer: Buffer = mask(plain)

    def is_compressed_for(self, deflate: Deflate) -> bool:
        """Say whether it is compressed. zlib can't compress for a window of 8 bits."""
        return deflate.out_bits > 8 and super().is_compressed_for(deflate)

    def deflated(self, deflate: Deflate) -> Buffer:
        return mask(bytes(super().deflated(deflate)))

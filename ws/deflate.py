"""permessage-deflate, RFC 7692: negotiate, inflate with a cap, deflate."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, Sequence, Tuple

from .frames import INVALID_PAYLOAD, RSV1, Buffer, Message, ProtocolError, encode, frame

try:  # the same interface, faster
    from zlib_ng import zlib_ng as zlib  # type: ignore[import-not-found,no-redef,unused-ignore]
except ImportError:
    import zlib

Params = Sequence[Tuple[str, Optional[str]]]
Offer = Tuple[str, Params]

NAME = "permessage-deflate"
_TAIL = b"\x00\x00\xff\xff"
"""What ends a flushed block, and is left out of messages (RFC 7692 §7.2.1)."""
_BEHIND_FINAL_BLOCK = (b"", _TAIL, b"\x00", b"\x00" + _TAIL)
"""What may follow a block with the BFINAL bit (RFC 7692 §7.2.3.4)."""
_BITS = {str(bits): bits for bits in range(8, 16)}


@dataclass(frozen=True)
class Compression:
    """How to compress, for clients that offer to (RFC 7692).

    Without context takeover, the default, no memory is kept for a client between messages, and
    a broadcast is deflated once for all. With it, similar messages shrink further, at up to
    `(1 << window_bits + 2) + (1 << memory_level + 9)` bytes for what is sent to a client and
    `1 << window_bits` for what it sends. Raises ValueError for what zlib can't do.
    """

    level: int = 2
    """From 1, fast, to 9, small; 6 makes JSON a tenth smaller than 2, in 2.5 times the time."""
    memory_level: int = 8
    """From 1 to 9; more makes compressing faster."""
    threshold: int = 1024
    """Messages with fewer bytes are not compressed, unless `send` is told to."""
    server_max_window_bits: int = 15
    """From 9 to 15; for what the server sends."""
    client_max_window_bits: int = 15
    """From 8 to 15; for what clients send, if they let themselves be told."""
    server_context_takeover: bool = False
    client_context_takeover: bool = False  # defence: client-context
    # Compressors that no thread is using, by window bits
    _idle: dict[int, list[Any]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, low, high in (
            ("level", 1, 9),
            ("memory_level", 1, 9),
            ("threshold", 0, 1 << 63),
            ("server_max_window_bits", 9, 15),  # zlib deflates with 9 where 8 is asked for
            ("client_max_window_bits", 8, 15),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be from {low} to {high}")

    def compressor(self, bits: int) -> Any:
        """Return a new zlib compressor for a window of *bits*."""
        return zlib.compressobj(self.level, zlib.DEFLATED, -bits, self.memory_level)

    def deflate(self, payload: bytes, bits: int) -> bytes:
        """Compress a message without a context; what it was compressed with is kept and shared."""
        idle = self._idle.setdefault(bits, [])
        try:
            compressor = idle.pop()
        except IndexError:
            compressor = self.compressor(bits)
        # A full flush leaves nothing behind that a later message could refer to.
        data = _deflate(compressor, payload, zlib.Z_FULL_FLUSH)
        idle.append(compressor)
        return data


class Deflate:
    """The extension as agreed on with one client; zlib's objects are made when first needed.

    Inflating is for the thread that reads. Deflating is for any, one at a time.
    """

    __slots__ = (
        "_compressor _inflater client_bits client_takeover lock server_bits server_takeover "
        "settings"
    ).split()

    def __init__(self, settings: Compression) -> None:
        self.settings = settings
        self.server_bits = settings.server_max_window_bits
        self.server_takeover = settings.server_context_takeover
        self.client_bits = 15  # unless the client says that it can be told
        self.client_takeover = settings.client_context_takeover
        self.lock = threading.Lock()
        self._compressor: Any = None
        self._inflater: Any = None

    def header(self, offer: Params) -> str:
        """Return the value of Sec-WebSocket-Extensions that accepts this offer."""
        tell_bits = self.server_bits < 15 or "server_max_window_bits" in dict(offer)
        parts = [
            NAME,
            "" if self.server_takeover else "server_no_context_takeover",
            "" if self.client_takeover else "client_no_context_takeover",
            f"server_max_window_bits={self.server_bits}" if tell_bits else "",
            f"client_max_window_bits={self.client_bits}" if self.client_bits < 15 else "",
        ]
        return "; ".join(filter(None, parts))

    def inflate(self, data: Buffer, room: int, final: bool) -> bytes:
        """Return what the next part of a message inflates to, or the first *room* + 1 bytes of it.

        Raises ProtocolError (1007) if it can't be inflated.
        """
        if self._inflater is None:
            self._inflater = zlib.decompressobj(-self.client_bits)
        try:
            data = bytes(data) + _TAIL if final else data
            inflated: bytes = self._inflater.decompress(data, room + 1)  # defence: inflated-size
        except zlib.error:
            raise ProtocolError(INVALID_PAYLOAD, "message can't be inflated")
        if self._inflater.eof and self._inflater.unused_data not in _BEHIND_FINAL_BLOCK:
            raise ProtocolError(INVALID_PAYLOAD, "data behind the end of the deflate stream")
        if final and (self._inflater.eof or not self.client_takeover):
            self._inflater = None
        return inflated

    def deflate(self, payload: bytes) -> bytes:
        """Compress a message with this client's context; for the holder of `lock`."""
        if self._compressor is None:
            self._compressor = self.settings.compressor(self.server_bits)
        return _deflate(self._compressor, payload, zlib.Z_SYNC_FLUSH)

    def forget(self) -> None:
        """Begin anew, since what was deflated last has not been sent."""
        self._compressor = None


class Outgoing:
    """A message on its way to any number of clients: deflated when first needed, then shared."""

    __slots__ = ("_deflated", "_wanted", "plain")

    def __init__(self, message: Message, compress: bool | None) -> None:
        self.plain = encode(message)
        """The frame for clients without compression."""
        self._wanted = compress
        self._deflated: dict[int, bytes] = {}  # by window bits

    def send(self, deflate: Deflate, send: Callable[[bytes], bool]) -> bool:
        """Pass the frame for a client with compression to *send*; return its answer."""
        settings, bits = deflate.settings, deflate.server_bits
        if not deflate.server_takeover and bits in self._deflated:
            return send(self._deflated[bits])
        first, length = self.plain[:2]
        payload = self.plain[2 if length < 126 else 4 if length == 126 else 10 :]
        wanted = len(payload) >= settings.threshold if self._wanted is None else self._wanted
        if not payload or not wanted:
            return send(self.plain)
        if not deflate.server_takeover:
            self._deflated[bits] = frame(first & 0x0F | RSV1, settings.deflate(payload, bits))
            return send(self._deflated[bits])
        # If another thread is just sending to this client, go ahead of it, uncompressed: its
        # turn may take `send_timeout`, and the order of the two is anybody's guess.
        if not deflate.lock.acquire(False):
            return send(self.plain)
        try:
            accepted = send(frame(first & 0x0F | RSV1, deflate.deflate(payload)))
            if not accepted:
                deflate.forget()
            return accepted
        finally:
            deflate.lock.release()


def _deflate(compressor: Any, payload: bytes, flush: int) -> bytes:
    data: bytes = compressor.compress(payload) + compressor.flush(flush)
    return data[: -len(_TAIL)]


def negotiate(offers: Sequence[Offer], settings: Compression) -> tuple[Deflate | None, str]:
    """Accept the first offer that can be honoured (RFC 7692 §5.1, §7.1).

    offers: names of extensions with their parameters, see `handshake.parse_extensions`.
    Returns what was agreed on and the header that says so; (None, '') for nothing.
    """
    for name, params in offers:
        deflate = _accept(params, settings) if name.lower() == NAME else None
        if deflate:
            return deflate, deflate.header(params)
    return None, ""


def _accept(params: Params, settings: Compression) -> Deflate | None:
    """Return what is agreed on for one offer, or None to decline it (RFC 7692 §7.1)."""
    deflate = Deflate(settings)
    offered = dict(params)
    if len(offered) < len(params):
        return None  # a parameter twice
    bits = _BITS.get(offered.pop("server_max_window_bits", "15") or "", 0)
    if bits < 9:  # zlib can't deflate with 8
        return None
    deflate.server_bits = min(bits, deflate.server_bits)
    if "client_max_window_bits" in offered:
        bits = _BITS.get(offered.pop("client_max_window_bits") or "15", 0)
        if not bits:
            return None
        deflate.client_bits = min(bits, settings.client_max_window_bits)
    for side in ("server", "client"):
        if offered.get(f"{side}_no_context_takeover", "") is None:
            del offered[f"{side}_no_context_takeover"]
            setattr(deflate, f"{side}_takeover", False)
    return None if offered else deflate  # what is left is unknown, or has a value it may not have

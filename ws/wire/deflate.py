"""permessage-deflate (RFC 7692): negotiation, compression, and decompression up to a limit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional, Sequence, Tuple

from .frames import Buffer, CloseCode, ProtocolError

try:  # the same interface, faster
    from zlib_ng import zlib_ng as zlib  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    import zlib  # type: ignore[no-redef,unused-ignore]

Params = Sequence[Tuple[str, Optional[str]]]
Offer = Tuple[str, Params]

NAME = "permessage-deflate"
_TAIL = b"\x00\x00\xff\xff"
"""The end of a flushed block, which messages leave out (RFC 7692 §7.2.1)."""
_AFTER_FINAL_BLOCK = (b"", _TAIL, b"\x00", b"\x00" + _TAIL)
"""What may follow a block with the BFINAL bit (RFC 7692 §7.2.3.4)."""
_INFLATER_BYTES = 10 << 10
"""The memory that zlib takes for inflating, without the window."""
_BITS = {str(bits): bits for bits in range(8, 16)}


@dataclass(frozen=True)
class Compression:
    """Settings of permessage-deflate, for a server or a client (RFC 7692).

    With context takeover, a message may refer to earlier ones, so that similar messages become
    smaller. It costs memory for each connection. The end that compresses keeps up to
    `(1 << window_bits + 2) + (1 << memory_level + 9)` bytes, 256 KiB with the defaults. The other
    end keeps up to `1 << window_bits` bytes and 10 KiB beside them, 42 KiB with the defaults. Both
    begin with the first compressed message.

    Without `server_context_takeover` (the default), a server compresses a broadcast once for all
    clients. One object may serve any number of servers, clients and threads.

    Raises:
        ValueError: A setting is out of its range.
    """

    level: int = 2
    """From 1, the fastest, to 9, the smallest. Level 6 makes JSON a tenth smaller than level 2,
    and takes 2.5 times as long."""
    memory_level: int = 8
    """From 1 to 9. A higher level compresses faster, and takes more memory."""
    threshold: int = 1024
    """Bytes. A shorter message is compressed only by `send` or `sendall` with compress=True."""
    server_max_window_bits: int = 15
    """From 9 to 15, for messages to clients (RFC 7692 §7.1.2.1)."""
    client_max_window_bits: int = 15
    """From 8 to 15, for messages from clients that accept the parameter (RFC 7692 §7.1.2.2)."""
    server_context_takeover: bool = False  # defence: server-context
    """Whether a message to a client may refer to earlier ones (RFC 7692 §7.1.1.1). With False, a
    client asks for that. A few servers can't comply (Tornado, Mojolicious); then it is agreed that
    their messages do."""
    client_context_takeover: bool = True
    """Whether a message from a client may refer to earlier ones (RFC 7692 §7.1.1.2). Messages from
    clients that offer `client_no_context_takeover` never do. With False, a server asks all others
    for it, too. Then it keeps no memory for a client between messages. Browsers comply, but Tornado
    and Mojolicious don't: their second compressed message fails with 1007."""
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
        """Compress a message without a context. From any thread; compressors are shared."""
        idle = self._idle.setdefault(bits, [])
        try:
            compressor = idle.pop()
        except IndexError:
            compressor = self.compressor(bits)
        # After a full flush, the next message can't refer to this one.
        data = _deflate(compressor, payload, zlib.Z_FULL_FLUSH)
        idle.append(compressor)
        return data


class Deflate:
    """The extension as agreed on with one peer. zlib's objects are made on first use.

    "out" is what this end sends, and "in" what the peer sends. `negotiate` makes the one of a
    server, and `agree` that of a client.

    Only the thread that reads inflates. With context takeover, one thread at a time deflates.
    """

    __slots__ = ("_compressor _inflater in_bits in_takeover out_bits out_takeover settings").split()

    def __init__(self, settings: Compression) -> None:
        self.settings: Compression = settings
        self.out_bits: int = settings.server_max_window_bits
        self.out_takeover: bool = settings.server_context_takeover
        self.in_bits: int = 15  # unless the client accepts client_max_window_bits
        self.in_takeover: bool = settings.client_context_takeover
        self._compressor: Any = None
        self._inflater: Any = None

    @property
    def compressor_held(self) -> int:
        """Bytes of memory that compressing for this client holds between messages, at most."""
        if self._compressor is None:
            return 0
        return (1 << self.out_bits + 2) + (1 << self.settings.memory_level + 9)

    @property
    def inflater_held(self) -> int:
        """Bytes of memory that inflating this client's messages holds, between them or in one."""
        if self._inflater is None:
            return 0
        return _INFLATER_BYTES + (1 << self.in_bits)

    def header(self, offer: Params) -> str:
        """Return the value of Sec-WebSocket-Extensions that accepts this offer."""
        tell_bits = self.out_bits < 15 or "server_max_window_bits" in dict(offer)
        parts = [
            NAME,
            "" if self.out_takeover else "server_no_context_takeover",
            "" if self.in_takeover else "client_no_context_takeover",
            f"server_max_window_bits={self.out_bits}" if tell_bits else "",
            f"client_max_window_bits={self.in_bits}" if self.in_bits < 15 else "",
        ]
        return "; ".join(filter(None, parts))

    def inflate(self, data: Buffer | None, most: int, final: bool) -> bytes:
        """Inflate the next part of a message.

        Args:
            data: The part, as it came. Or None to continue with the last one, because that gave
                *most* bytes, and so may have more.
            most: Bytes to inflate at most, over 0.
            final: Whether this is the message's last part.

        Raises:
            ProtocolError: The data can't be inflated (1007).
        """
        inflater = self._inflater
        if inflater is None:
            inflater = self._inflater = zlib.decompressobj(-self.in_bits)
        if data is None:
            data = b"" if inflater.eof else inflater.unconsumed_tail
        elif final:
            data = bytes(data) + _TAIL
        try:
            inflated: bytes = inflater.decompress(data, most)  # defence: inflated-size
        except zlib.error:  # type: ignore[misc,unused-ignore]
            raise ProtocolError(CloseCode.INVALID_PAYLOAD, "message can't be inflated")
        if inflater.eof and inflater.unused_data not in _AFTER_FINAL_BLOCK:
            reason = "data after the end of the deflate stream"
            raise ProtocolError(CloseCode.INVALID_PAYLOAD, reason)
        if final and len(inflated) < most and (inflater.eof or not self.in_takeover):
            self._inflater = None
        return inflated

    def deflate(self, payload: bytes) -> bytes:
        """Compress a message, with this client's context if context takeover is agreed on."""
        if not self.out_takeover:
            return self.settings.deflate(payload, self.out_bits)
        if self._compressor is None:
            self._compressor = self.settings.compressor(self.out_bits)
        return _deflate(self._compressor, payload, zlib.Z_SYNC_FLUSH)

    def forget(self) -> None:
        """Start with an empty context, because the last message was compressed but not sent."""
        self._compressor = None

    def end(self) -> None:
        """Let go of zlib's memory, because the connection has ended. From any thread."""
        self._compressor = self._inflater = None


def _deflate(compressor: Any, payload: bytes, flush: int) -> bytes:
    data: bytes = compressor.compress(payload) + compressor.flush(flush)
    return data[: -len(_TAIL)]


def negotiate(offers: Sequence[Offer], settings: Compression) -> tuple[Deflate | None, str]:
    """Accept the first offer that can be honoured (RFC 7692 §5.1, §7.1).

    Args:
        offers: Names of extensions with their parameters, from `handshake.parse_extensions`.

    Returns:
        The agreed extension and the header that says so, or (None, "").
    """
    for name, params in offers:
        deflate = _accept(params, settings) if name.lower() == NAME else None
        if deflate:
            return deflate, deflate.header(params)
    return None, ""


def _accept(params: Params, settings: Compression) -> Deflate | None:
    """Return the extension as one offer allows it, or None to decline the offer (RFC 7692 §7.1)."""
    deflate = Deflate(settings)
    offered = dict(params)
    if len(offered) < len(params):
        return None  # a parameter twice
    bits = _BITS.get(offered.pop("server_max_window_bits", "15") or "", 0)
    if bits < 9:  # zlib can't deflate with 8
        return None
    deflate.out_bits = min(bits, deflate.out_bits)
    if "client_max_window_bits" in offered:
        bits = _BITS.get(offered.pop("client_max_window_bits") or "15", 0)
        if not bits:
            return None
        deflate.in_bits = min(bits, settings.client_max_window_bits)
    for side, direction in (("server", "out"), ("client", "in")):
        if offered.get(f"{side}_no_context_takeover", "") is None:
            del offered[f"{side}_no_context_takeover"]
            setattr(deflate, f"{direction}_takeover", False)
    return None if offered else deflate  # the rest is unknown, or has a value it may not have


def offer(settings: Compression) -> str:
    """Return the value of Sec-WebSocket-Extensions with which a client offers compression.

    If it asks for no context takeover, a second offer doesn't, for servers that keep their context
    in any case, as Tornado does (RFC 7692 §5.1).
    """
    server_bits, client_bits = settings.server_max_window_bits, settings.client_max_window_bits
    parts = [
        NAME,
        "" if settings.client_context_takeover else "client_no_context_takeover",
        f"server_max_window_bits={server_bits}" if server_bits < 15 else "",
        f"client_max_window_bits={client_bits}" if client_bits < 15 else "client_max_window_bits",
    ]
    kept = "; ".join(filter(None, parts))
    if settings.server_context_takeover:
        return kept
    return f"{kept}; server_no_context_takeover, {kept}"


def agree(answer: Params, settings: Compression) -> Deflate | None:
    """Return the extension as a server's answer to `offer` has it (RFC 7692 §5.1, §7.1).

    Returns:
        None if the answer isn't valid for this offer: the client has to fail then.
    """
    params = dict(answer)
    forgets = {side: f"{side}_no_context_takeover" in params for side in ("server", "client")}
    in_bits = _BITS.get(params.pop("server_max_window_bits", "15") or "", 0)
    out_bits = _BITS.get(params.pop("client_max_window_bits", "15") or "", 0)
    valued = [params.pop(f"{side}_no_context_takeover", None) for side in forgets]
    if (
        (len(dict(answer)) < len(answer) or params or any(value is not None for value in valued))
        or not (in_bits and out_bits)
        or in_bits > settings.server_max_window_bits
    ):
        return None
    deflate = Deflate(settings)
    deflate.in_bits, deflate.in_takeover = in_bits, not forgets["server"]
    deflate.out_bits = min(out_bits, settings.client_max_window_bits)
    deflate.out_takeover = settings.client_context_takeover and not forgets["client"]
    return deflate

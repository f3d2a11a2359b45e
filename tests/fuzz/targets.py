"""What is fuzzed, and what must hold for any input.

`python -m tests.fuzz.targets TARGET FILE` tries one input; libFuzzer's options and folders work
as well. A target takes bytes and raises if something is wrong, which an exception that a module
doesn't document is. The first two bytes choose the settings and where the input is cut in two.
"""

from __future__ import annotations

import contextlib
import ipaddress
import sys
import zlib

if __name__ == "__main__":
    import atheris

    instrumented = atheris.instrument_imports(include=["ws"])
else:
    instrumented = contextlib.nullcontext()

with instrumented:  # and nothing that imports ws before
    from tests.support import model
    from ws.wire import proxy
    from ws.wire.deflate import Compression, Deflate, negotiate
    from ws.wire.events import CLOSE, PROTOCOL_ERROR, YIELD_TURN
    from ws.wire.frames import ProtocolError
    from ws.wire.handshake import (
        accept,
        check_upgrade,
        choose_subprotocol,
        not_an_upgrade,
        parse_extensions,
    )
    from ws.wire.http11 import HandshakeError, RequestReader
    from ws.wire.protocol import Protocol

MESSAGE, FRAGMENTS, HEAD, ROOM = 300, 4, 2048, 1000
"""Limits small enough for inputs to reach."""


def cut(data):
    """Return the settings, the input, and the input in two parts."""
    settings, at = (data + b"\0\0")[:2]
    rest = data[2:]
    at = at * len(rest) // 255
    return settings, rest, [rest[:at], rest[at:]]


def head(data):
    """A request head: the same however it is cut; a request or a response, both well-formed."""
    _, whole, parts = cut(data)
    outcome = read_head([whole])
    if whole[:1] == b"\x16":  # TLS is recognised before any other fault
        assert isinstance(outcome, HandshakeError) == isinstance(read_head(parts), HandshakeError)
    else:
        assert shown(outcome) == shown(read_head(parts))
    if isinstance(outcome, HandshakeError):
        well_formed(b"".join(outcome.response.encode()))
    elif outcome is not None:
        request, _ = outcome
        assert repr(request).isprintable()
        request.path, request.query, request.cookies  # noqa: B018
        try:
            if not request.is_upgrade:
                raise not_an_upgrade(request)
            check_upgrade(request, ["https://a.example"])
            chosen = choose_subprotocol(request, ["a", "b"])
            _, extension = negotiate(request.offers, Compression())
            well_formed(accept(request, chosen, {}, extension))
        except HandshakeError as error:
            well_formed(b"".join(error.response.encode()))


def read_head(parts):
    """Return the request and what follows it, or the error; None if the head is incomplete."""
    reader = RequestReader(HEAD)
    for number, part in enumerate(parts):
        try:
            complete = reader.feed(part)
        except HandshakeError as error:
            return error
        if complete:
            request, rest = complete
            return request, rest + b"".join(parts[number + 1 :])
    return None


def shown(outcome):
    """Return the part of an outcome that mustn't depend on where the input was cut."""
    if not isinstance(outcome, tuple):
        return outcome and outcome.response.status
    request, rest = outcome
    return request.method, request.target, request.version, dict(request.headers), rest


def well_formed(response):
    """No field of a response breaks out of its line, and there is one of each."""
    start, *lines = response.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert start.startswith(b"HTTP/1.1 ") and b"\n" not in start
    names = [line.partition(b": ")[0].lower() for line in lines]
    assert all(name.replace(b"-", b"").isalnum() for name in names), lines
    assert len(set(names)) == len(names) and not any(c in b"".join(lines) for c in b"\r\n\0")


def frames(data):
    """Frames: what the model says, however they are cut."""
    _, whole, parts = cut(data)
    expected = [event[1:] for event in model.events(whole, MESSAGE, FRAGMENTS)]
    for chunks in ([whole], parts):
        assert read_frames(Protocol(MESSAGE, FRAGMENTS), chunks) == expected


def read_frames(protocol, chunks):
    events = [event for chunk in chunks for event in protocol.feed(chunk)]
    assert protocol.done or not protocol.more
    assert protocol.done is (events[-1:] != [] and events[-1][0] in (CLOSE, PROTOCOL_ERROR))
    return [
        (kind, value[0] if kind == PROTOCOL_ERROR else value)
        for kind, value in events
        if kind != YIELD_TURN
    ]


def compressed(data):
    """Frames with compression: the same however they are cut, and never over the limit."""
    settings, whole, parts = cut(data)
    outcomes = []
    for chunks in ([whole], parts):
        protocol = Protocol(MESSAGE, FRAGMENTS)
        protocol.use(Deflate(Compression(client_context_takeover=settings & 1 == 1)))
        outcomes.append(read_frames(protocol, chunks))
    for events in outcomes:
        sizes = [len(v.encode() if isinstance(v, str) else v) for k, v in events if k in (1, 2)]
        assert all(size <= MESSAGE for size in sizes)
        if events and events[-1] == (
            PROTOCOL_ERROR,
            1009,
        ):  # of two faults, either may be found first
            events[-1] = (PROTOCOL_ERROR, 1007)
    assert outcomes[0] == outcomes[1]


def extensions(data):
    """Sec-WebSocket-Extensions: refused, declined, or agreed on within what was offered."""
    settings, whole, _ = cut(data)
    try:
        offers = parse_extensions(whole.decode("latin-1"))
    except HandshakeError as error:
        well_formed(b"".join(error.response.encode()))
        return
    both = settings & 1 == 1
    compression = Compression(server_context_takeover=both, client_context_takeover=both)
    deflate, header = negotiate(offers, compression)
    assert (deflate is None) is (header == "")
    if deflate is None:
        return
    assert 9 <= deflate.out_bits <= 15 and 8 <= deflate.in_bits <= 15
    ((_, answered),) = parse_extensions(header)
    params = dict(answered)
    offered = [dict(params) for name, params in offers if name.lower() == "permessage-deflate"]
    assert any(answers(params, offer) for offer in offered), (offers, header)


def answers(params, offer):
    """Say whether a client that made this offer may get these parameters (RFC 7692 §7.1.2)."""
    client, server = "client_max_window_bits", "server_max_window_bits"
    bits = offer.get(server, "15")
    if bits not in map(str, range(8, 16)) or int(params.get(server, "15")) > int(bits):
        return False
    return client in offer or client not in params


def inflate(data):
    """A message inflates to what zlib makes of it, in steps of any size, and never more in one."""
    settings, whole, parts = cut(data)
    outcomes = []
    for chunks in ([whole], parts):
        deflate = Deflate(Compression(client_context_takeover=settings & 1 == 1))
        most = 1 + (settings >> 1) * 8
        inflated = b""
        try:
            for number, chunk in enumerate(chunks):
                final = number == len(chunks) - 1
                piece = deflate.inflate(chunk, most, final)
                while len(piece) == most and len(inflated) <= ROOM:
                    inflated += piece
                    piece = deflate.inflate(None, most, final)
                assert len(piece) <= most
                inflated += piece
                if len(inflated) > ROOM:
                    inflated = None
                    break
        except ProtocolError as error:
            assert error.code == 1007
            inflated = None
        outcomes.append(inflated)
    assert outcomes[0] == outcomes[1]
    if outcomes[0] is not None:
        reference = zlib.decompressobj(-15)
        assert reference.decompress(whole + b"\0\0\xff\xff") == outcomes[0]


def proxied(data):
    """A PROXY protocol header: its end is found without reading past it; an address or none."""
    _, whole, _ = cut(data)
    header = b""
    try:
        more = proxy.missing(header)
        while more:
            if len(header) + more > len(whole):
                return
            header = whole[: len(header) + more]
            more = proxy.missing(header)
        address = proxy.parse(header)
    except ValueError:
        return
    assert len(header) <= max(proxy.LONGEST_LINE_BYTES, proxy.LONGEST_BLOCK_BYTES)
    if address not in (None, (proxy.UNKNOWN, 0)):
        ip, port = address
        assert ipaddress.ip_address(ip) and 0 <= port < 65536


def forwarded(data):
    """X-Forwarded-For: an address, and never one to the left of one that no proxy vouches for."""
    _, whole, _ = cut(data)
    proxies = proxy.Proxies(["10.0.0.0/8", "fd00::/8"])
    members = whole.decode("latin-1").split(",")
    told = proxies.origin("10.0.0.1", [member.strip() for member in members])
    assert told == proxy.UNKNOWN or ipaddress.ip_address(told)
    assert proxies.origin("10.0.0.1", [*members, "1.2.3.4"]) == "1.2.3.4"
    assert proxies.origin("192.0.2.1", members) == "192.0.2.1"


_ALL = (head, frames, compressed, extensions, inflate, proxied, forwarded)
TARGETS = {target.__name__: target for target in _ALL}

if __name__ == "__main__":
    target = TARGETS[sys.argv[1]]
    atheris.instrument_func(target)
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target)
    atheris.Fuzz()

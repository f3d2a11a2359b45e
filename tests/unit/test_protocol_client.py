"""The protocol in the role of a client: RFC 6455 §5.1, and the same as for a server in all else."""

from __future__ import annotations

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.frames import masked
from tests.support.tables import table
from ws.wire import events as kinds
from ws.wire.deflate import Compression, agree, negotiate, offer
from ws.wire.events import BINARY, PROTOCOL_ERROR, TEXT
from ws.wire.frames import frame, mask
from ws.wire.handshake import parse_extensions
from ws.wire.message import MaskedMessage, PreparedMessage, encode
from ws.wire.protocol import ClientProtocol, Protocol


def feed(protocol, *chunks):
    return [
        (kind, payload[0] if kind in (PROTOCOL_ERROR, kinds.CLOSE) else payload)
        for chunk in chunks
        for kind, payload in protocol.feed(chunk)
    ]


def octets(stream):
    return [stream[i : i + 1] for i in range(len(stream))]


def unmasked(first, payload=b""):
    """Return an unmasked frame, whatever its first byte is."""
    return bytes([first]) + frame(0, payload)[1:]


@table(
    "stream, events",
    ("5.7 a single-frame unmasked text message", "81 05 48656C6C6F", [(TEXT, "Hello")]),
    ("5.7 a fragmented one", "01 03 48656C 80 02 6C6F", [(TEXT, "Hello")]),
    ("5.7 an unmasked ping", "89 05 48656C6C6F", [(kinds.PING, b"Hello")]),
    ("5.7 256 bytes of binary data", "82 7E 0100" + "AA" * 256, [(BINARY, b"\xaa" * 256)]),
    ("5.7 64 KiB", "82 7F 0000000000010000" + "AA" * 65536, [(BINARY, b"\xaa" * 65536)]),
    ("5.2 empty", "81 00", [(TEXT, "")]),
    ("5.4 a control frame in the middle", "01 01 61 8A 00 80 00", [(kinds.PONG, b""), (TEXT, "a")]),
    ("5.5.1 a close frame", "88 02 03E8", [(kinds.CLOSE, 1000)]),
)
def test_received(stream, events):
    stream = bytes.fromhex(stream)
    assert feed(ClientProtocol(), stream) == events
    assert feed(ClientProtocol(), *octets(stream)) == events


@table(
    "fault",
    ("text", "81 80"),
    ("binary", "82 85"),
    ("a continuation", "01 00 80 80"),
    ("with a length of 2 bytes", "82 FE"),
    ("with one of 8 bytes", "82 FF"),
    ("a ping", "89 80"),
    ("a close frame", "88 82"),
)
def test_a_masked_frame_is_refused(fault):
    """§5.1: a client MUST close a connection if it detects a masked frame."""
    fault = bytes.fromhex(fault)
    assert feed(ClientProtocol(), fault[:-1]) == []
    ((kind, (code, reason)),) = ClientProtocol().feed(fault)
    assert (kind, code, reason) == (PROTOCOL_ERROR, 1002, "frame from a server must not be masked")


@table(
    "fault, code",
    ("5.2 reserved bit", "C1 00", 1002),
    ("5.2 reserved opcode", "83 00", 1002),
    ("5.2 length not in its shortest form", "82 7E 007D", 1002),
    ("5.2 nor that of 8 bytes", "82 7F 000000000000FFFF", 1002),
    ("5.4 a continuation of nothing", "80 00", 1002),
    ("5.5 a long control frame", "89 7E", 1002),
    ("8.1 text that isn't UTF-8", "81 01 FF", 1007),
    ("10.4 a message that is too large", "82 7E 00C9", 1009),
)
def test_refused(fault, code):
    fault = bytes.fromhex(fault)
    assert feed(ClientProtocol(200), fault) == [(PROTOCOL_ERROR, code)]
    assert feed(ClientProtocol(200), *octets(fault)) == [(PROTOCOL_ERROR, code)]


FRAMES = st.lists(
    st.tuples(
        st.sampled_from([0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x88, 0x89, 0x8A, 0x83, 0x09]),
        st.one_of(st.binary(max_size=130), st.text(max_size=40).map(str.encode)),
    ),
    max_size=8,
)


@given(FRAMES, st.integers(1, 300))
def test_but_for_masking_both_roles_are_the_same(frames, size):
    to_server = b"".join(masked(first, payload) for first, payload in frames)
    to_client = b"".join(unmasked(first, payload) for first, payload in frames)
    server, client = Protocol(1000), ClientProtocol(1000)
    wanted = list(server.feed(to_server))
    got = []
    for i in range(0, len(to_client), size):
        got += client.feed(to_client[i : i + size])
    assert got == wanted


@given(st.sampled_from([0, 1, 2]), st.binary(max_size=700), st.booleans())
def test_what_a_client_sends_is_masked(opcode, payload, fin):
    plain = frame(opcode, payload, fin)
    data = mask(plain)
    assert isinstance(data, bytes)
    assert data[1] >= 0x80
    assert len(data) == len(plain) + 4
    assert data[0] == plain[0]


def test_each_frame_has_a_fresh_key():
    """§5.3: the masking key needs to be unpredictable."""
    keys = {ClientProtocol().frame(0x9, b"")[2:6] for _ in range(100)}
    assert len(keys) > 95


@pytest.mark.parametrize("size", [0, 5, 125, 126, 600, 5000, 65535, 65536, 100_001])
def test_a_server_understands_a_client(size):
    text = "x" * size
    assert feed(Protocol(1 << 20), mask(encode(text))) == [(TEXT, text)]
    assert feed(Protocol(1 << 20), ClientProtocol().frame(0xA, b"p")) == [(kinds.PONG, b"p")]
    assert feed(Protocol(), ClientProtocol().close(4000, "bye")) == [(kinds.CLOSE, 4000)]


@pytest.mark.parametrize("server_takeover", [False, True])
@pytest.mark.parametrize("client_takeover", [False, True])
@pytest.mark.parametrize("bits", [9, 15])
def test_compression_both_ways(server_takeover, client_takeover, bits):
    """RFC 7692 §7: each end inflates what the other has deflated, with what was agreed on."""
    settings = Compression(
        server_context_takeover=server_takeover,
        client_context_takeover=client_takeover,
        server_max_window_bits=bits,
        client_max_window_bits=bits,
        threshold=0,
    )
    theirs, answer = negotiate(parse_extensions(offer(settings)), settings)
    ours = agree(parse_extensions(answer)[0][1], settings)
    assert (ours.out_takeover, ours.in_takeover) == (theirs.in_takeover, theirs.out_takeover)
    assert (ours.out_takeover, ours.in_takeover) == (client_takeover, server_takeover)
    server, client = Protocol(1 << 20), ClientProtocol(1 << 20)
    server.use(theirs)
    client.use(ours)
    for text in ("hello hello hello", "hello hello hello", "x" * 100_000, ""):
        message = MaskedMessage(encode(text))
        data = message.deflated(ours) if message.is_compressed_for(ours) else message.buffer
        assert feed(server, data) == [(TEXT, text)]
        prepared = PreparedMessage(encode(text))
        data = prepared.deflated(theirs) if prepared.is_compressed_for(theirs) else prepared.plain
        assert feed(client, data) == [(TEXT, text)]
        assert feed(client, pack("!BB", 0x89, 0)) == [(kinds.PING, b"")]

"""permessage-deflate: what is agreed on (RFC 7692 §5, §7.1), and what is inflated and deflated."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws.deflate import Compression, Deflate, Outgoing, negotiate
from ws.frames import ProtocolError
from ws.handshake import HandshakeError, parse_extensions

PMD = "permessage-deflate"
S_OFF, C_OFF = "server_no_context_takeover", "client_no_context_takeover"
TAKEOVER = Compression(server_context_takeover=True, client_context_takeover=True)
TAIL = b"\x00\x00\xff\xff"


def agree(header, settings=TAKEOVER):
    deflate, answer = negotiate(parse_extensions(header), settings)
    assert (deflate is None) == (answer == "")
    return answer


@pytest.mark.parametrize(
    "offer, answer",
    [
        # what is agreed on
        ("", ""),
        ("x-webkit-deflate-frame", ""),
        (PMD, PMD),
        ("Permessage-DEFLATE", PMD),
        (f"x-other; a=b, {PMD}", PMD),
        (f"{PMD}; {S_OFF}", f"{PMD}; {S_OFF}"),
        (f"{PMD}; {C_OFF}", f"{PMD}; {C_OFF}"),
        (f"{PMD}; server_max_window_bits=9", f"{PMD}; server_max_window_bits=9"),
        (f'{PMD}; server_max_window_bits="12"', f"{PMD}; server_max_window_bits=12"),
        (f"{PMD}; server_max_window_bits=15", f"{PMD}; server_max_window_bits=15"),
        (f"{PMD}; client_max_window_bits", PMD),
        (f"{PMD}; client_max_window_bits=8", f"{PMD}; client_max_window_bits=8"),
        (f"{PMD};client_max_window_bits=10;{S_OFF}", f"{PMD}; {S_OFF}; client_max_window_bits=10"),
        # §7.1: offers that a server must decline, and the next one looked at
        (f"{PMD}; server_max_window_bits=8", ""),
        (f"{PMD}; server_max_window_bits=8, {PMD}", PMD),
        (f"{PMD}; server_max_window_bits=8, {PMD}; {S_OFF}, {PMD}", f"{PMD}; {S_OFF}"),
        (f"{PMD}; unknown", ""),
        (f"{PMD}; {S_OFF}; {S_OFF}", ""),
        (f"{PMD}; {S_OFF}=1", ""),
        (f"{PMD}; {C_OFF}=true", ""),
        (f"{PMD}; server_max_window_bits", ""),
        (f"{PMD}; server_max_window_bits=7", ""),
        (f"{PMD}; server_max_window_bits=16", ""),
        (f"{PMD}; server_max_window_bits=09", ""),
        (f"{PMD}; client_max_window_bits=0", ""),
        (f"{PMD}; client_max_window_bits=+9", ""),
        (f"{PMD}; Server_No_Context_Takeover", ""),
    ],
)
def test_negotiation(offer, answer):
    assert agree(offer) == answer


@pytest.mark.parametrize(
    "settings, offer, answer",
    [
        ({}, PMD, f"{PMD}; {S_OFF}; {C_OFF}"),
        ({"server_context_takeover": True}, PMD, f"{PMD}; {C_OFF}"),
        ({"client_context_takeover": True}, PMD, f"{PMD}; {S_OFF}"),
        (
            {"server_max_window_bits": 11, "client_max_window_bits": 10},
            f"{PMD}; client_max_window_bits",
            f"{PMD}; {S_OFF}; {C_OFF}; server_max_window_bits=11; client_max_window_bits=10",
        ),
        # §7.1.2.2: a client that hasn't said that it can be told, isn't
        ({"client_max_window_bits": 10}, PMD, f"{PMD}; {S_OFF}; {C_OFF}"),
        (
            {"server_max_window_bits": 11},
            f"{PMD}; server_max_window_bits=10",
            f"{PMD}; {S_OFF}; {C_OFF}; server_max_window_bits=10",
        ),
    ],
)
def test_settings(settings, offer, answer):
    assert agree(offer, Compression(**settings)) == answer


@pytest.mark.parametrize(
    "header", [";", f"{PMD};", f"{PMD}; =1", f"{PMD}; a=", f"{PMD}; a=b c", f'{PMD}; a="b', "a b"]
)
def test_a_malformed_header_is_refused(header):
    with pytest.raises(HandshakeError) as refused:
        parse_extensions(header)
    assert refused.value.response.status == 400


@pytest.mark.parametrize(
    "settings",
    [
        {"level": 0},
        {"level": 10},
        {"memory_level": 0},
        {"threshold": -1},
        {"server_max_window_bits": 8},
        {"client_max_window_bits": 16},
    ],
)
def test_settings_that_zlib_cannot_do(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Compression(**settings)


def agreed(params="", settings=TAKEOVER):
    deflate, _ = negotiate(parse_extensions(PMD + params), settings)
    return deflate


def squeeze(data, flush=zlib.Z_SYNC_FLUSH, bits=15):
    compressor = zlib.compressobj(wbits=-bits)
    squeezed = compressor.compress(data) + compressor.flush(flush)
    return squeezed[:-4] if squeezed.endswith(TAIL) else squeezed


# RFC 7692 §7.2.3: the examples all inflate to "Hello"
HELLO = [
    ("one block", ["f248cdc9c90700"]),
    ("the same, sharing the window", ["f248cdc9c90700", "f200110000"]),
    ("a block without compression", ["000500faff48656c6c6f00"]),
    ("a final block", ["f348cdc9c9070000"]),
    ("two blocks", ["f24805000000ffffcac9c90700"]),
]


@pytest.mark.parametrize("name, messages", HELLO)
def test_the_examples_of_the_rfc(name, messages):
    deflate = agreed()
    for message in messages:
        assert deflate.inflate(bytes.fromhex(message), 5, True) == b"Hello"


def test_room_is_kept_while_inflating():
    bomb = squeeze(bytes(100 << 20))
    assert len(bomb) < 200_000
    assert len(agreed().inflate(bomb, 1000, True)) == 1001
    assert len(agreed().inflate(squeeze(bytes(1000)), 1000, True)) == 1000
    deflate = agreed()
    inflated = sum(len(deflate.inflate(bomb[n : n + 1], 1000, False)) for n in range(30))
    assert inflated <= 30 * 1001


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff", squeeze(b"x")[:-1] + b"\xff\xff", squeeze(b"x", zlib.Z_FINISH) * 2]
)
def test_what_cannot_be_inflated(data):
    with pytest.raises(ProtocolError) as error:
        agreed().inflate(data, 1000, True)
    assert error.value.code == 1007


def test_the_window_is_forgotten_without_client_takeover():
    sharing = ["f248cdc9c90700", "f200110000"]
    deflate = agreed(f"; {C_OFF}")
    assert deflate.inflate(bytes.fromhex(sharing[0]), 5, True) == b"Hello"
    with pytest.raises(ProtocolError):
        deflate.inflate(bytes.fromhex(sharing[1]), 5, True)


def sent(outgoing, deflate, accepted=True):
    """Return the frame that is passed on for a client."""
    passed = []
    assert outgoing.send(deflate, lambda data: passed.append(data) or accepted) is accepted
    return passed[0]


def payload_of(frame):
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


@pytest.mark.parametrize(
    "size, compress, compressed",
    [
        (99, None, False),
        (100, None, True),
        (5, True, True),
        (0, True, False),
        (1000, False, False),
    ],
)
@pytest.mark.parametrize("kind", [0x1, 0x2])
def test_what_is_compressed(size, compress, compressed, kind):
    message = "x" * size if kind == 0x1 else b"x" * size
    frame = sent(Outgoing(message, compress), agreed(settings=Compression(threshold=100)))
    assert frame[0] == 0x80 | kind | (0x40 if compressed else 0)
    if compressed:
        assert zlib.decompressobj(-15).decompress(payload_of(frame) + TAIL) == b"x" * size


def test_a_broadcast_is_deflated_once_for_equal_parameters():
    outgoing = Outgoing("x" * 5000, None)
    settings = Compression()
    clients = [agreed(params, settings) for params in ("", "", "; server_max_window_bits=9")]
    frames = [sent(outgoing, client) for client in clients]
    assert frames[0] is frames[1]
    assert frames[2] is not frames[0]
    for frame in frames:
        inflated = zlib.decompressobj(-9).decompress(payload_of(frame) + TAIL)
        assert inflated == b"x" * 5000


def test_with_takeover_messages_share_the_window():
    deflate = agreed()
    message = bytes(range(256)) * 2
    frames = [sent(Outgoing(message, True), deflate) for _ in range(3)]
    assert len(frames[1]) < len(frames[0]) / 10
    inflater = zlib.decompressobj(-15)
    for frame in frames:
        assert inflater.decompress(payload_of(frame) + TAIL) == message


def test_a_message_that_was_not_accepted_leaves_no_trace_in_the_window():
    deflate = agreed()
    message = bytes(range(256)) * 2
    first = sent(Outgoing(message, True), deflate)
    sent(Outgoing(b"lost" * 100, True), deflate, accepted=False)
    third = sent(Outgoing(b"lost" * 100, True), deflate)
    inflater = zlib.decompressobj(-15)
    assert inflater.decompress(payload_of(first) + TAIL) == message
    assert inflater.decompress(payload_of(third) + TAIL) == b"lost" * 100


def test_while_another_thread_sends_compressed_a_message_goes_plain():
    deflate = agreed()
    inner = []

    def send(data):
        return inner.append(sent(Outgoing("y" * 2000, None), deflate)) or True

    assert Outgoing("x" * 2000, None).send(deflate, send)
    assert inner[0][0] == 0x81


messages = st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=5)


@given(messages, st.integers(9, 15), st.booleans(), st.booleans())
def test_round_trip_through_a_stock_inflater(payloads, bits, takeover, repeat):
    settings = Compression(server_context_takeover=takeover, server_max_window_bits=bits)
    deflate = agreed(settings=settings)
    inflater = zlib.decompressobj(-bits)
    for payload in payloads * (1 + repeat):
        if not takeover:
            inflater = zlib.decompressobj(-bits)
        data = payload_of(sent(Outgoing(payload, True), deflate))
        assert inflater.decompress(data + TAIL) == payload


@given(st.binary(max_size=5000), st.integers(9, 15), st.lists(st.integers(1, 500), min_size=1))
def test_inflating_in_any_pieces(payload, bits, sizes):
    squeezed = squeeze(payload, bits=bits)
    deflate = agreed(f"; client_max_window_bits={bits}")
    for _ in range(2):  # the second message with the window of the first
        inflated, position = b"", 0
        for size in sizes:
            inflated += deflate.inflate(squeezed[position : position + size], 5000, False)
            position += size
        inflated += deflate.inflate(squeezed[position:], 5000 - len(inflated), True)
        assert inflated == payload


@given(st.binary(max_size=300))
def test_random_bytes_inflate_or_fail(data):
    deflate = Deflate(TAKEOVER)
    try:
        assert len(deflate.inflate(data, 1000, True)) <= 1001
    except ProtocolError as error:
        assert error.code == 1007

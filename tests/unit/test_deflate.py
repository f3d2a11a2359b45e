"""permessage-deflate: the negotiation (RFC 7692 §5, §7.1), inflating and deflating."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.deflated import EIGHT_EMPTY_BLOCKS, TAIL, squeeze
from ws.wire import deflate
from ws.wire.deflate import Compression, Deflate, negotiate
from ws.wire.frames import ProtocolError
from ws.wire.handshake import parse_extensions
from ws.wire.http11 import HandshakeError

PMD = "permessage-deflate"
S_OFF, C_OFF = "server_no_context_takeover", "client_no_context_takeover"
C_BITS = "client_max_window_bits"
TAKEOVER = Compression(server_context_takeover=True, client_context_takeover=True)


def agree(header, settings=TAKEOVER):
    deflate, answer = negotiate(parse_extensions(header), settings)
    assert (deflate is None) == (answer == "")
    return answer


@pytest.mark.parametrize(
    "offer, answer",
    [
        # the parameters that are agreed on
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
        ({}, PMD, f"{PMD}; {S_OFF}"),
        ({"server_context_takeover": True}, PMD, PMD),
        # §7.1.1.2: a client may be asked for what it hasn't offered, but not each complies
        ({}, f"{PMD}; {C_OFF}", f"{PMD}; {S_OFF}; {C_OFF}"),
        ({"client_context_takeover": False}, PMD, f"{PMD}; {S_OFF}; {C_OFF}"),
        (
            {"server_max_window_bits": 11, "client_max_window_bits": 10},
            f"{PMD}; client_max_window_bits",
            f"{PMD}; {S_OFF}; server_max_window_bits=11; client_max_window_bits=10",
        ),
        # §7.1.2.2: a client that hasn't said that it can be told, isn't
        ({"client_max_window_bits": 10}, PMD, f"{PMD}; {S_OFF}"),
        (
            {"server_max_window_bits": 11},
            f"{PMD}; server_max_window_bits=10",
            f"{PMD}; {S_OFF}; server_max_window_bits=10",
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


# RFC 7692 §7.2.3: the examples all inflate to "Hello"
HELLO = [
    ("one block", ["f248cdc9c90700"]),
    ("the same, sharing the window", ["f248cdc9c90700", "f200110000"]),
    ("a block without compression", ["000500faff48656c6c6f00"]),
    ("a final block", ["f348cdc9c9070000"]),
    ("two blocks", ["f24805000000ffffcac9c90700"]),
]


def inflated(deflate, data, most, final=True):
    """All that a part of a message inflates to, at most so many bytes in one step."""
    piece = deflate.inflate(data, most, final)
    pieces = [piece]
    while len(piece) == most:
        piece = deflate.inflate(None, most, final)
        pieces.append(piece)
    assert all(len(piece) <= most for piece in pieces)
    return b"".join(pieces)


@pytest.mark.parametrize("name, messages", HELLO)
@pytest.mark.parametrize("most", range(1, 8))
def test_the_examples_of_the_rfc(name, messages, most):
    deflate = agreed()
    for message in messages:
        assert inflated(deflate, bytes.fromhex(message), most) == b"Hello"


def test_no_step_gives_more_than_it_may():
    bomb = squeeze(bytes(100 << 20))
    assert len(bomb) < 200_000
    assert len(agreed().inflate(bomb, 1000, True)) == 1000
    assert len(agreed().inflate(squeeze(bytes(1000)), 1001, True)) == 1000
    deflate = agreed()
    assert sum(len(deflate.inflate(bomb[n : n + 1], 1000, False)) for n in range(30)) <= 30_000


@pytest.mark.parametrize(
    "data",
    [b"\xff\xff\xff", squeeze(b"x")[:-1] + b"\xff\xff", squeeze(b"x", flush=zlib.Z_FINISH) * 2],
)
def test_what_cannot_be_inflated(data):
    with pytest.raises(ProtocolError) as error:
        agreed().inflate(data, 1000, True)
    assert error.value.code == 1007


def test_the_window_is_forgotten_without_client_takeover():
    sharing = ["f248cdc9c90700", "f200110000"]
    deflate = agreed(f"; {C_OFF}")
    assert deflate.inflate(bytes.fromhex(sharing[0]), 6, True) == b"Hello"
    with pytest.raises(ProtocolError):
        deflate.inflate(bytes.fromhex(sharing[1]), 6, True)


def test_what_was_not_sent_is_forgotten():
    deflate, inflater = agreed(), zlib.decompressobj(-15)
    for payload, sent in ((b"a sentence", True), (b"lost", False), (b"a lost sentence", True)):
        data = deflate.deflate(payload)
        if sent:
            assert inflater.decompress(data + TAIL) == payload
        else:
            deflate.forget()


messages = st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=5)


@given(messages, st.integers(9, 15), st.booleans(), st.booleans())
def test_round_trip_through_a_stock_inflater(payloads, bits, takeover, repeat):
    settings = Compression(server_context_takeover=takeover, server_max_window_bits=bits)
    deflate = agreed(settings=settings)
    inflater = zlib.decompressobj(-bits)
    for payload in payloads * (1 + repeat):
        if not takeover:
            inflater = zlib.decompressobj(-bits)
        data = deflate.deflate(payload)
        assert inflater.decompress(data + TAIL) == payload


@given(
    st.binary(max_size=5000) | st.integers(1, 5000).map(bytes),
    st.integers(0, 9),
    st.integers(9, 15),
    st.lists(st.integers(0, 500), min_size=1),
    st.integers(1, 6000),
    st.booleans(),
)
def test_inflating_in_any_slices_and_steps(payload, level, bits, sizes, most, ends):
    """A final block ends the deflate stream (RFC 7692 §7.2.3.4)."""
    squeezed = squeeze(payload, level, bits)
    if ends:
        compressor = zlib.compressobj(level, zlib.DEFLATED, -bits)
        squeezed = compressor.compress(payload) + compressor.flush() + b"\0"
    deflate = agreed(f"; client_max_window_bits={bits}")
    for _ in range(2):  # the second message with the window of the first
        parts, position = [], 0
        for size in sizes:
            parts.append(inflated(deflate, squeezed[position : position + size], most, False))
            position += size
        parts.append(inflated(deflate, squeezed[position:], most))
        assert b"".join(parts) == payload


@given(st.binary(max_size=300), st.integers(1, 2000))
def test_random_bytes_inflate_as_zlib_says_or_fail(data, most):
    try:
        got = inflated(Deflate(TAKEOVER), data, most)
    except ProtocolError as error:
        assert error.code == 1007
    else:
        assert got == zlib.decompressobj(-15).decompress(data + TAIL)


def test_what_it_holds():
    """The window of the peer's messages, and a compressor if there is a context."""
    deflate = agreed("; client_max_window_bits=10; server_max_window_bits=10")
    assert (deflate.inflater_held, deflate.compressor_held) == (0, 0)
    deflate.inflate(squeeze(b"x", bits=10), 2, True)
    deflate.deflate(b"x")
    assert deflate.inflater_held == (1 << 10) + (10 << 10)
    assert deflate.compressor_held == (1 << 12) + (1 << 17)
    deflate.forget()
    assert deflate.compressor_held == 0
    deflate.end()
    assert deflate.inflater_held == 0


def test_without_contexts_nothing_is_held_between_messages():
    deflate = agreed(f"; {C_OFF}; {S_OFF}")
    data = squeeze(bytes(1000)) + TAIL + EIGHT_EMPTY_BLOCKS + b"\0"
    assert deflate.inflate(data, 1000, True) == bytes(1000)
    assert deflate.inflater_held > 0, "there may be more"
    assert deflate.inflate(None, 1000, True) == b""
    deflate.deflate(bytes(5000))
    assert (deflate.inflater_held, deflate.compressor_held) == (0, 0)


# The client's side


@pytest.mark.parametrize(
    "settings, header",
    [
        # §5.1: the second offer is for servers that don't take the first
        ({}, f"{PMD}; {C_BITS}; {S_OFF}, {PMD}; {C_BITS}"),
        ({"server_context_takeover": True}, f"{PMD}; {C_BITS}"),
        (
            {"server_context_takeover": True, "client_context_takeover": False},
            f"{PMD}; {C_OFF}; {C_BITS}",
        ),
        (
            {
                "server_context_takeover": True,
                "server_max_window_bits": 10,
                "client_max_window_bits": 9,
            },
            f"{PMD}; server_max_window_bits=10; client_max_window_bits=9",
        ),
    ],
)
def test_offer(settings, header):
    assert deflate.offer(Compression(**settings)) == header
    assert agree(header, Compression()) != ""


@pytest.mark.parametrize(
    "settings, answer, agreed",
    [
        # in and out: bits, and whether there is context takeover
        ({}, S_OFF, (15, False, 15, True)),
        ({}, f"{S_OFF}; {C_OFF}", (15, False, 15, False)),
        ({}, f"{S_OFF}; server_max_window_bits=8", (8, False, 15, True)),
        ({}, f"{S_OFF}; client_max_window_bits=8", (15, False, 8, True)),
        ({"server_context_takeover": True}, "", (15, True, 15, True)),
        ({"client_context_takeover": False}, S_OFF, (15, False, 15, False)),
        ({"client_context_takeover": False}, f"{S_OFF}; {C_OFF}", (15, False, 15, False)),
        (
            {"server_max_window_bits": 10},
            f"{S_OFF}; server_max_window_bits=9",
            (9, False, 15, True),
        ),
        (
            {"client_max_window_bits": 10},
            f"{S_OFF}; client_max_window_bits=12",
            (15, False, 10, True),
        ),
        ({}, "", (15, True, 15, True)),  # which accepts the second offer
        # §7.1: answers upon which a client must fail
        ({"server_max_window_bits": 10}, S_OFF, None),
        ({"server_max_window_bits": 10}, f"{S_OFF}; server_max_window_bits=11", None),
        ({}, f"{S_OFF}; server_max_window_bits", None),
        ({}, f"{S_OFF}; server_max_window_bits=7", None),
        ({}, f"{S_OFF}; client_max_window_bits", None),
        ({}, f"{S_OFF}; client_max_window_bits=16", None),
        ({}, f"{S_OFF}; {S_OFF}", None),
        ({}, f"{S_OFF}=1", None),
        ({}, f"{S_OFF}; {C_OFF}=1", None),
        ({}, f"{S_OFF}; unknown", None),
    ],
)
def test_answers(settings, answer, agreed):
    ((_, params),) = parse_extensions(f"{PMD}; {answer}" if answer else PMD)
    found = deflate.agree(params, Compression(**settings))
    shown = found and (found.in_bits, found.in_takeover, found.out_bits, found.out_takeover)
    assert shown == agreed

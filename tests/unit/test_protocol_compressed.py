"""Compressed messages (RFC 7692 §6) as tables, and the work that they are.

What holds for any stream is in test_protocol_properties.py.
"""

from __future__ import annotations

import random
from struct import pack

import pytest

from tests.support.deflated import EIGHT_EMPTY_BLOCKS, squeeze
from tests.support.frames import masked
from tests.support.streams import feed, octets
from tests.support.tables import table
from ws.wire import events as kinds
from ws.wire.deflate import Compression, Deflate
from ws.wire.events import PROTOCOL_ERROR, YIELD_TURN
from ws.wire.frames import BINARY, CONT, FIN, PING, RSV1, RSV2, TEXT
from ws.wire.protocol import PIECE_BYTES, TURN_BYTES, Protocol

F_CONT, F_TEXT = FIN | CONT, FIN | TEXT
text_hello, hel, lo = masked(F_TEXT, b"Hello"), masked(TEXT, b"Hel"), masked(F_CONT, b"lo")
ping = masked(FIN | PING, b"p")
HELLO, PINGED, TURN = (TEXT, "Hello"), (kinds.PING, b"p"), (YIELD_TURN, "")
SQUEEZED = bytes.fromhex("f248cdc9c90700")  # "Hello", §7.2.3.1
C_TEXT = RSV1 | TEXT
LONG_NOISE = bytes(map(random.Random(1).randrange, [256] * 50_000))
NOISE = LONG_NOISE[:1200]


def compressed(**limits: int) -> Protocol:
    protocol = Protocol(**limits)
    protocol.use(Deflate(Compression(client_context_takeover=True)))
    return protocol


HALVES = masked(C_TEXT, SQUEEZED[:3]), masked(F_CONT, SQUEEZED[3:])


@table(
    "stream, events",
    ("7.2.3.1 a compressed message", masked(FIN | C_TEXT, SQUEEZED), [HELLO]),
    (
        "7.2.3.2 sharing the window",
        masked(FIN | C_TEXT, SQUEEZED) + masked(FIN | C_TEXT, bytes.fromhex("f200110000")),
        [HELLO] * 2,
    ),
    ("6.1 fragments: RSV1 on the first alone", b"".join(HALVES), [HELLO]),
    ("6.1 an empty last fragment", masked(C_TEXT, SQUEEZED) + masked(F_CONT), [HELLO]),
    ("6 control frames between are plain", ping.join(HALVES), [PINGED, HELLO]),
    ("6 a message may go uncompressed", text_hello + hel + lo, [HELLO] * 2),
    ("7.2.3.6 an empty message", masked(FIN | C_TEXT, b"\0"), [(TEXT, "")]),
    ("binary", masked(FIN | RSV1 | BINARY, SQUEEZED), [(BINARY, b"Hello")]),
)
def test_compressed_messages(stream, events):
    for chunks in ([stream], octets(stream)):
        assert feed(compressed(), *chunks) == events


@table(
    "stream, code",
    ("6.1 RSV1 on a continuation", masked(C_TEXT, SQUEEZED[:3]) + b"\xc0\x80", 1002),
    ("6.1 RSV1 on a control frame", bytes([FIN | RSV1 | PING, 0x80]), 1002),
    ("RSV2 still means nothing", bytes([FIN | RSV2 | RSV1 | TEXT, 0x80]), 1002),
    ("what can't be inflated", masked(FIN | C_TEXT, b"\xff\xff"), 1007),
    ("8.1 not UTF-8", masked(FIN | C_TEXT, squeeze(b"\xff")), 1007),
    ("8.1 not UTF-8, and the message isn't over", masked(C_TEXT, squeeze(b"\xff" * 9)), 1007),
    ("a bomb", masked(FIN | C_TEXT, squeeze(bytes(10_000_000))), 1009),
    ("a bomb in fragments", masked(C_TEXT, squeeze(bytes(1001))), 1009),
    (
        "two halves of one",
        masked(RSV1 | BINARY, squeeze(NOISE)[:600]) + masked(F_CONT, squeeze(NOISE)[600:]),
        1009,
    ),
    (
        "a declared length that no encoder needs",
        b"\xc2\xfe" + pack("!H", 3026),
        1009,
    ),
    (
        "nor all fragments together",
        masked(RSV1 | BINARY, EIGHT_EMPTY_BLOCKS * 16)
        + masked(CONT, EIGHT_EMPTY_BLOCKS * 16)
        + masked(CONT, bytes(3026 - 32 * len(EIGHT_EMPTY_BLOCKS)))[:2],
        1009,
    ),
)
def test_compressed_faults(stream, code):
    for chunks in ([stream], octets(stream)):
        assert feed(compressed(max_message_size=1000), *chunks) == [(PROTOCOL_ERROR, code)]


def test_what_is_just_small_enough_passes_although_deflating_made_it_longer():
    payload = NOISE[:1000]
    assert len(squeeze(payload)) > 1000
    stream = masked(FIN | RSV1 | BINARY, squeeze(payload))
    assert feed(compressed(max_message_size=1000), stream) == [(BINARY, payload)]


@pytest.mark.parametrize("level", range(10))
@pytest.mark.parametrize("memory", range(1, 10))
def test_limit_is_for_what_comes_out(level, memory):
    """Whatever an encoder makes of noise; a level of memory of 1 makes it the longest."""
    noise = LONG_NOISE
    payload = squeeze(noise, level, memory=memory)
    assert len(payload) > len(noise)
    for limit, event in (
        (len(noise), (BINARY, noise)),
        (len(noise) - 1, (PROTOCOL_ERROR, 1009)),
    ):
        stream = masked(FIN | RSV1 | BINARY, payload)
        for chunks in ([stream], [stream[:9999], stream[9999:]]):
            events = feed(compressed(max_message_size=limit), *chunks)
            assert [event for event in events if event != TURN] == [event]


def test_small_frames_that_grow_are_much_work():
    size = TURN_BYTES
    bomb = masked(FIN | RSV1 | BINARY, squeeze(bytes(size)))
    events = feed(compressed(max_message_size=size), bomb * 3)
    assert events == [(BINARY, bytes(size)), TURN] * 2 + [(BINARY, bytes(size))]


FEW, MANY = EIGHT_EMPTY_BLOCKS + b"\0", EIGHT_EMPTY_BLOCKS * 2800 + b"\0"


@table(
    "stream, turns",
    ("in one frame", masked(FIN | RSV1 | BINARY, MANY), 7),
    (
        "in frames of 93 bytes",
        masked(FIN | RSV1 | BINARY, FEW) * 2800,
        45,
    ),
    (
        "in fragments of 93 bytes",
        masked(RSV1 | BINARY) + masked(CONT, EIGHT_EMPTY_BLOCKS) * 2800,
        45,
    ),
)
def test_input_is_work_even_if_nothing_comes_out(stream, turns):
    """Without a turn for others, each of these would take 20 ms."""
    events = [event for event in feed(compressed(), stream) if event == TURN]
    assert turns <= len(events) <= 2 * turns


def test_default_size_is_inflated_in_one_turn():
    """Or hundreds of peers could have a mebibyte each, inflated in part."""
    big = bytes(1 << 20)
    stream = masked(FIN | RSV1 | BINARY, squeeze(bytes(TURN_BYTES - 50_000)))
    stream += masked(FIN | RSV1 | BINARY, squeeze(big)) + ping
    kinds_seen = [kind for kind, _ in feed(compressed(), stream)]
    assert kinds_seen == [BINARY, BINARY, YIELD_TURN, kinds.PING]


@pytest.mark.parametrize("size", [PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5_000_000])
@pytest.mark.parametrize("first", [TEXT, BINARY])
def test_bomb_within_a_raised_limit_is_inflated_in_pieces(size, first):
    message = "é" * (size // 2) if first == TEXT else bytes(size)
    payload = squeeze(message.encode() if isinstance(message, str) else message)
    stream = masked(FIN | RSV1 | first, payload)
    for chunks in ([stream], [stream[:99], stream[99:]]):
        events = feed(compressed(max_message_size=size), *chunks)
        assert events[-1] == (first, message)
        turns = events[:-1]
        assert turns == [TURN] * len(turns)
        assert len(turns) >= size // (3 * PIECE_BYTES)


def test_close_in_a_turn_of_others():
    """A message that was being inflated isn't reported, but the next ping is answered."""
    size = 3_000_000
    protocol = compressed(max_message_size=size)
    stream = masked(FIN | RSV1 | BINARY, squeeze(bytes(size))) + ping
    events = protocol.feed(stream)
    assert next(events) == TURN
    protocol.close(1000)
    assert [event for event in events if event != TURN] == [PINGED]

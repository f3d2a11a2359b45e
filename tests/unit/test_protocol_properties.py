"""What holds for any stream of bytes from a client.

No split of the stream changes the events, and invalid UTF-8 is found at the first byte that no
valid text could have.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.deflated import squeeze
from tests.support.frames import masked
from tests.support.model import is_utf8, may_become_utf8
from tests.support.streams import Events, feed, octets
from ws.wire import events as kinds
from ws.wire.deflate import Compression, Deflate
from ws.wire.events import PROTOCOL_ERROR
from ws.wire.frames import BINARY, CLOSE, CONT, FIN, PING, PONG, RSV1, TEXT
from ws.wire.partial import PART_BYTES, SMALL_BYTES
from ws.wire.protocol import PIECE_BYTES, SLICE_BYTES, Protocol


def split(stream: bytes, cuts: list[int]) -> list[bytes]:
    """Cut *stream* in pieces, empty ones too."""
    at = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[start:stop] for start, stop in zip(at, at[1:])]


some_cuts = st.lists(st.integers(0, 2000), max_size=5)
keys = st.binary(min_size=4, max_size=4)
controls = st.lists(st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125)), max_size=2)
changes = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=3)


@st.composite
def conversations(draw: Any) -> tuple[bytes, Events]:
    """A stream without a fault, and the events that it must give."""
    stream, events = b"", []
    for message in draw(st.lists(st.text(max_size=200) | st.binary(max_size=700), max_size=4)):
        opcode = TEXT if isinstance(message, str) else BINARY
        pieces = split(message.encode() if opcode == TEXT else message, draw(some_cuts))
        for i, piece in enumerate(pieces):
            for control in draw(controls):
                stream += masked(FIN | control[0], control[1])
                events.append((kinds.URGENT | control[0], control[1]))
            first = (CONT if i else opcode) | (FIN if i == len(pieces) - 1 else 0)
            stream += masked(first, piece, draw(keys))
        events.append((opcode, message))
    if draw(st.booleans()):
        stream += masked(FIN | CLOSE, b"\x0f\xa0bye") + draw(st.binary(max_size=9))
        events.append((kinds.CLOSE, (4000, "bye")))
    return stream, events


@given(conversations(), some_cuts)
def test_any_split_of_a_good_stream(conversation, cuts):
    stream, events = conversation
    assert feed(Protocol(), *split(stream, cuts)) == events


def change(stream: bytes, changes: list[tuple[int, int]]) -> bytes:
    """Replace some bytes of *stream*, which makes most streams faulty."""
    changed = bytearray(stream)
    for at, octet in changes:
        start = at % (len(stream) + 1)
        changed[start : start + 1] = bytes([octet])
    return bytes(changed)


@given(st.builds(change, conversations().map(itemgetter(0)), changes) | st.binary(), some_cuts)
def test_any_split_of_any_stream(stream, cuts):
    outcomes = []
    for chunks in ([stream], split(stream, cuts), octets(stream)):
        protocol = Protocol(max_message_size=500, max_fragments=4)
        outcomes.append([repr(event) for chunk in chunks for event in protocol.feed(chunk)])
    assert outcomes[0] == outcomes[1] == outcomes[2]


characters = st.characters(blacklist_categories=("Cs",))
EDGES = bytes.fromhex("7f 80 8f 90 9f a0 bf c0 c1 c2 df e0 ed ef f0 f4 f5 ff")
almost_text = st.lists(
    st.tuples(characters, st.integers(1, 4)).map(lambda cut: cut[0].encode()[: cut[1]])
    | st.sampled_from(EDGES).map(lambda byte: bytes([byte])),
    max_size=6,
).map(b"".join)


@given(almost_text)
def test_invalid_utf8_fails_as_early_as_can_be(text):
    failures = [
        [] if may_become_utf8(text[: i + 1]) else [(PROTOCOL_ERROR, 1007)] for i in range(len(text))
    ]
    first = (
        failures.index([(PROTOCOL_ERROR, 1007)]) + 1
        if [(PROTOCOL_ERROR, 1007)] in failures
        else len(text)
    )
    whole = masked(FIN | TEXT, text + b"more")
    in_one_frame = [whole[:7], *octets(whole[7 : 6 + first])]
    in_fragments = [masked(CONT if i else TEXT, octet) for i, octet in enumerate(octets(text))]
    for chunks in (in_one_frame, in_fragments):
        protocol = Protocol()
        assert [feed(protocol, chunk) for chunk in chunks][:first] == failures[:first]
    event = (TEXT, text.decode()) if is_utf8(text) else (PROTOCOL_ERROR, 1007)
    assert feed(Protocol(), masked(FIN | TEXT, text)) == [event], "at once"


edges = [
    edge + offset
    for edge in (0, SMALL_BYTES, SLICE_BYTES, PART_BYTES)
    for offset in (-2, -1, 0, 1, 2)
    if edge + offset > 0
]
sizes = st.lists(st.sampled_from(edges) | st.integers(1, 2 * PART_BYTES), min_size=1, max_size=12)
alphabets = st.sampled_from(
    ["a", "aé", "é", "ж", "жa", "中", "中 a", "a" * 500 + "😀", "😀", "é😀ж"]
)


def cut(data: bytes, sizes: list[int], rounds: int) -> list[bytes]:
    """Cut *data* into pieces of these sizes, over and over; the last one gets the rest."""
    pieces, position = [], 0
    for size in sizes * rounds:
        pieces.append(data[position : position + size])
        position += size
    return [*pieces, data[position:]]


def messages(alphabet: str, size: int) -> Any:
    """A text of *size* characters, and bytes of that size."""
    return (alphabet * (size // len(alphabet) + 1))[:size], bytes(range(256)) * (size // 256 + 1)


@given(alphabets, sizes, st.integers(1, 9))
@settings(max_examples=60)
def test_any_pieces_of_a_long_message_are_joined(alphabet, sizes, rounds):
    for message in messages(alphabet, 200_000):
        opcode = TEXT if isinstance(message, str) else BINARY
        payload = message.encode() if isinstance(message, str) else message
        whole = masked(FIN | opcode, payload)
        pieces = cut(payload, sizes, rounds)
        fragments = b"".join([masked(opcode), *(masked(CONT, p) for p in pieces), masked(FIN)])
        for stream in (whole, fragments):
            events = feed(Protocol(), *cut(stream, sizes, rounds))
            assert [event for event in events if event[0] <= BINARY] == [(opcode, message)]


@given(alphabets, sizes, st.integers(1, 3), st.sampled_from([0, 1, 9]), st.booleans())
@settings(max_examples=60)
def test_any_pieces_of_a_long_compressed_message(alphabet, sizes, rounds, level, takeover):
    for message in messages(alphabet, 200_000):
        opcode = TEXT if isinstance(message, str) else BINARY
        payload = message.encode() if isinstance(message, str) else message
        squeezed = squeeze(payload, level)
        whole = masked(FIN | RSV1 | opcode, squeezed)
        fragments = masked(RSV1 | opcode)
        fragments += b"".join(masked(CONT, piece) for piece in cut(squeezed, sizes, rounds))
        protocol = Protocol(len(payload), 1000)
        protocol.use(Deflate(Compression(client_context_takeover=takeover)))
        events = feed(
            protocol,
            *cut(whole, sizes, rounds),
            whole,
            *cut(fragments + masked(FIN | CONT), sizes, rounds),
        )
        assert [event for event in events if event[0] <= BINARY] == [(opcode, message)] * 3


@given(st.integers(0, 3), st.integers(-3, 3), st.booleans())
@settings(max_examples=30)
def test_bombs_about_as_large_as_a_piece(pieces, more, text):
    """Whatever is left in the inflater when its input is used up comes out."""
    size = max(0, pieces * PIECE_BYTES + more)
    message: Any = "x" * size if text else bytes(size)
    squeezed = squeeze(message.encode() if text else message)
    stream = masked(FIN | RSV1 | (TEXT if text else BINARY), squeezed)
    for limit in (size, size + 1, max(0, size - 1)):
        protocol = Protocol(max(1, limit))
        protocol.use(Deflate(Compression()))
        events = [event for event in feed(protocol, stream) if event[0] != kinds.YIELD_TURN]
        fits = size <= max(1, limit)
        assert events == [((TEXT if text else BINARY), message) if fits else (PROTOCOL_ERROR, 1009)]

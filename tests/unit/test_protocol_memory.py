"""What a protocol holds between two reads, and while others have their turn, in bytes of memory.

The measure is tracemalloc, which sees what Python allocates, zlib's memory included.
"""

from __future__ import annotations

import collections
import gc
import random
import tracemalloc
from typing import Any, Callable, Iterator, List

import pytest

from tests.support.deflated import EIGHT_EMPTY_BLOCKS, squeeze
from tests.support.frames import masked
from tests.support.tables import table
from ws.wire.deflate import Compression, Deflate
from ws.wire.events import PING as PINGED
from ws.wire.events import YIELD_TURN
from ws.wire.frames import BINARY, CLOSE, CONT, FIN, PING, RSV1, TEXT
from ws.wire.protocol import SLICE_BYTES, Protocol

KIB, MIB = 1 << 10, 1 << 20
NOISE = bytes(map(random.Random(1).randrange, [256] * (256 * KIB)))
SLACK_BYTES = 8 << 10
"""What the objects themselves take, and the generator."""

Chunks = Callable[[], List[bytes]]


@pytest.fixture(autouse=True)
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def memory() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def new(limit: int = 4 * MIB) -> Protocol:
    protocol = Protocol(limit, 1 << 20)
    protocol.use(Deflate(Compression()))
    return protocol


def fed(protocol: Protocol, chunks: Chunks) -> int:
    """Feed all *chunks*, and return how much memory is held afterwards."""
    before = memory()
    for chunk in chunks():
        collections.deque(protocol.feed(chunk), 0)
    del chunk
    return memory() - before


def begun(first: int, payload: bytes) -> bytes:
    """A frame that lacks its last byte."""
    return masked(first, payload + b".")[:-1]


def crumbs(opcode: int, payload: bytes, size: int) -> list[bytes]:
    """A message in fragments of this size, without an end, in reads of 16 KiB."""
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
    stream = masked(opcode) + b"".join(masked(CONT, piece) for piece in pieces)
    return [stream[at : at + 16 * KIB] for at in range(0, len(stream), 16 * KIB)]


def reads(stream: bytes, size: int = 256 * KIB) -> list[bytes]:
    return [stream[at : at + size] for at in range(0, len(stream), size)]


EMOJI = "\N{GRINNING FACE}"
MIXED = ("x" * 3000 + EMOJI) * 330  # as str, this takes four times its bytes
TEXTS = {
    "ASCII": "x" * MIB,
    "two bytes, which take one": "é" * (MIB // 2),
    "two bytes": "ж" * (MIB // 2),
    "three bytes, which take two": "中" * (MIB // 3),
    "four bytes": EMOJI * (MIB // 4),
    "one that makes the others wide": MIXED,
}

STATES: dict[str, Chunks] = {
    "a message of one read": lambda: [begun(FIN | BINARY, bytes(200 * KIB))],
    "of many": lambda: reads(begun(FIN | BINARY, bytes(MIB))),
    "of many small ones": lambda: reads(begun(FIN | BINARY, bytes(MIB)), 1000),
    "of octets": lambda: reads(begun(FIN | BINARY, bytes(32 * KIB)), 1),
    "fragments of one byte": lambda: crumbs(BINARY, bytes(20 * KIB), 1),
    "of a hundred": lambda: crumbs(BINARY, bytes(MIB // 2), 100),
    "of 5000": lambda: crumbs(BINARY, bytes(MIB), 5000),
    "a long one, a short one": lambda: (
        crumbs(BINARY, bytes(5000), 5000) + [masked(CONT, bytes(4096)) + masked(CONT, b".")] * 200
    ),
    **{
        f"{name}, {how}": chunks
        for name, text in TEXTS.items()
        for how, chunks in (
            ("read at once", lambda text=text: reads(begun(FIN | TEXT, text.encode()))),  # type: ignore[misc]
            ("in short reads", lambda text=text: reads(begun(FIN | TEXT, text.encode()), 999)),  # type: ignore[misc]
            ("in fragments", lambda text=text: crumbs(TEXT, text.encode()[: 64 * KIB], 10)),  # type: ignore[misc]
        )
    },
    "noise that was compressed": lambda: reads(masked(RSV1 | BINARY, squeeze(NOISE))),
    "zeros": lambda: [masked(RSV1 | BINARY, squeeze(bytes(MIB)))],
    "compressed text": lambda: [masked(RSV1 | TEXT, squeeze(MIXED.encode()))],
    "the window after a message": lambda: [masked(FIN | RSV1 | BINARY, squeeze(bytes(MIB)))],
    "after a short one": lambda: [masked(FIN | RSV1 | BINARY, squeeze(b"Hello"))],
    "part of a header": lambda: [b"\x81\xfe"],
    "nothing": lambda: [masked(FIN | TEXT, b"x" * KIB)],
}


@pytest.mark.parametrize("name", STATES)
def test_held_is_what_is_held(name):
    """Within one half, and two KiB."""
    protocol = new()
    real = fed(protocol, STATES[name])
    assert protocol.held <= 1.5 * real + SLACK_BYTES
    assert real <= 1.5 * protocol.held + SLACK_BYTES
    protocol.end()
    assert protocol.held == 0


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("size", [10, 3000, 128 * KIB])
def test_unfinished_text_takes_no_more_than_its_bytes(name, size):
    payload = TEXTS[name].encode()[: 64 * KIB]
    real = fed(new(), lambda: crumbs(TEXT, payload, size))
    assert real <= 1.3 * len(payload) + SLACK_BYTES


def test_compressed_text_takes_no_more_than_its_bytes():
    """A kilobyte that inflates to 4 MiB of text with one wide character doesn't take 16."""
    text = "x" * (MIB - 4) + EMOJI
    real = fed(new(), lambda: [masked(RSV1 | TEXT, squeeze(text.encode()))])
    assert real <= 1.3 * MIB + 64 * KIB


WINDOW = 42 * KIB
BOMB = squeeze(bytes(MIB))
TEXT_BOMB = squeeze(b"x" * MIB)
EMPTY = EIGHT_EMPTY_BLOCKS * 1000


@table(
    "stream, steps, bound",
    ("whole text", lambda: masked(FIN | TEXT, bytes(100 * KIB)) * 2, 1, 200 * KIB),
    ("whole binary", lambda: masked(FIN | BINARY, bytes(100 * KIB)) * 2, 1, 200 * KIB),
    ("compressed", lambda: masked(FIN | RSV1 | BINARY, BOMB) * 2, 1, WINDOW),
    ("the turn after it", lambda: masked(FIN | RSV1 | BINARY, BOMB) * 2, 2, WINDOW),
    ("compressed text", lambda: masked(FIN | RSV1 | TEXT, TEXT_BOMB) * 2, 1, WINDOW),
    ("the turn after that", lambda: masked(FIN | RSV1 | TEXT, TEXT_BOMB) * 2, 2, WINDOW),
    (
        "in fragments",
        lambda: masked(RSV1 | TEXT, TEXT_BOMB) + masked(FIN | CONT) + masked(FIN | PING),
        2,
        WINDOW,
    ),
    (
        "in the middle",
        lambda: masked(FIN | RSV1 | BINARY, EMPTY),
        1,
        91 * KIB + SLICE_BYTES + WINDOW,
    ),
)
def test_nothing_but_the_input_is_kept_for_the_next_turn(stream, steps, bound):
    """What was handed over can be freed, although the parser goes on later."""
    protocol = new()
    data: Any = stream()
    size = len(data)
    before = memory() - size
    events = protocol.feed(data)
    del data
    for _ in range(steps):
        kind, _ = next(events)
    del _
    real = memory() - before
    assert real <= bound + SLACK_BYTES
    assert protocol.held <= 1.5 * real + SLACK_BYTES
    assert real <= 1.5 * protocol.held + SLACK_BYTES
    assert protocol.held >= size
    assert list(events)[-1][0] in (TEXT, BINARY, PINGED, YIELD_TURN)
    assert protocol.held < 50 * KIB


def test_input_that_is_given_up_is_not_held():
    protocol = new()
    events = protocol.feed(masked(FIN | TEXT, bytes(100 * KIB)) * 2)
    next(events)
    assert protocol.held > 200 * KIB
    events.close()  # type: ignore[attr-defined]
    assert protocol.held == 0


@table(
    "end",
    ("a fault", b"\x81\x05"),
    ("the close frame", masked(FIN | CLOSE)),
)
def test_after_the_last_event_nothing_is_held(end):
    protocol = new()
    real = fed(protocol, lambda: [masked(TEXT, b"x" * MIB), masked(CONT), end])
    assert protocol.held == 0
    assert real < SLACK_BYTES


def test_a_short_fragment_that_inflates_to_much_is_inflated_in_steps():
    protocol = new()
    protocol.use(Deflate(Compression()))
    payload = bytes(3 * MIB)
    squeezed = squeeze(payload)
    assert len(squeezed) < SLICE_BYTES
    stream = masked(RSV1 | BINARY, squeezed) + masked(FIN | CONT)
    events = list(protocol.feed(stream))
    assert [kind for kind, _ in events if kind != YIELD_TURN] == [BINARY]
    assert events[-1][1] == payload

"""Messages in pieces: the same as in one, as soon as it can be told, in linear time and memory."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.model import is_utf8, may_become_utf8
from tests.support.tables import table
from ws.wire.partial import PART_BYTES, SMALL_BYTES, PartialMessage

sizes = st.lists(
    st.integers(0, 5)
    | st.integers(SMALL_BYTES - 3, SMALL_BYTES + 3)
    | st.integers(0, 3 * PART_BYTES),
    min_size=1,
    max_size=10,
)
texts = st.lists(
    st.tuples(st.sampled_from(["a", "é", "ж", "中", "\N{GRINNING FACE}"]), st.integers(0, 60_000)),
    max_size=8,
).map(lambda runs: "".join(character * count for character, count in runs))


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces, position = [], 0
    for size in sizes:
        pieces.append(data[position : position + size])
        position += size
    return [*pieces, data[position:]]


def joined(pieces: list[bytes], text: bool) -> object:
    """The whole message, or None as soon as it can't be one."""
    message = PartialMessage(text)
    size = sum(map(len, pieces))  # before: a bytearray that is kept may grow
    try:
        for number, piece in enumerate(pieces):
            message.add(bytearray(piece) if number % 2 else piece)
        message.check_end()
    except UnicodeDecodeError:
        return None
    assert message.size == size
    return message.join()


@given(texts, sizes)
@settings(max_examples=100)
def test_text_in_any_pieces(text, sizes):
    pieces = cut(text.encode(), sizes)
    assert joined(pieces, True) == text


@given(st.binary(max_size=9), st.integers(0, 100_000), sizes)
@settings(max_examples=50)
def test_bytes_in_any_pieces(start, more, sizes):
    data = start + bytes(more)
    whole = joined(cut(data, sizes), False)
    assert whole == data
    assert type(whole) is bytes


@given(st.binary(max_size=20) | texts.map(lambda text: text.encode()[:20]), sizes)
def test_the_same_as_decode(data, sizes):
    """§8.1: what isn't UTF-8 is none, however it is cut."""
    expected = data.decode() if is_utf8(data) else None
    assert joined(cut(data, [size % 5 for size in sizes]), True) == expected


@given(
    st.lists(st.sampled_from([bytes([octet]) for octet in b"a\x80\x8f\x90\x9f\xa0\xbf\xc0"]))
    .map(b"".join)
    .flatmap(
        lambda tail: st.sampled_from([b"\xed", b"\xe0", b"\xf0", b"\xf4", b"\xc3"]).map(
            lambda lead: lead + tail
        )
    )
)
def test_fails_at_the_first_octet_that_no_text_could_have(data):
    message = PartialMessage(True)
    for end in range(1, len(data) + 1):
        if may_become_utf8(data[:end]):
            message.add(data[end - 1 : end])
        else:
            with pytest.raises(UnicodeDecodeError):
                message.add(data[end - 1 : end])
            return
    if is_utf8(data):
        message.check_end()
    else:
        with pytest.raises(UnicodeDecodeError, match="unexpected end"):
            message.check_end()


@table(
    "pieces, text, held",
    ("nothing", [], True, 0),
    ("crumbs share a part", [b"x"] * 1000, False, 1080),
    ("until it is full", [b"x" * 1000] * 132, False, 132_000 + 160),
    ("long pieces are kept as they are", [bytes(5000)] * 3, False, 15_000 + 240),
    ("a crumb after them", [bytes(5000), b"x"], False, 5001 + 160),
    ("text of wide characters alone, as bytes", ["ж".encode() * 5000] * 2, True, None),
    ("text that would become wide, as bytes", [b"x" * 5000 + "ж".encode()], True, 5002 + 80),
    ("short text, as bytes", ["ж".encode() * 500] * 2, True, 2000 + 80),
    ("a cut character is no part yet", ["ж".encode()[:1]], True, 1 + 80),
)
def test_held(pieces, text, held):
    message = PartialMessage(text)
    for piece in pieces:
        message.add(piece)
    if held is None:
        size = sum(map(len, pieces))
        assert size <= message.held <= size + 500
    else:
        assert message.held == held

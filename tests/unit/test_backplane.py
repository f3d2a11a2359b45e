"""The envelope in which messages go to other servers, and the contract."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws import Compression
from ws.backplane import Backplane, seal, unseal
from ws.wire.deflate import Deflate
from ws.wire.message import encode

THRESHOLD = 10
"""Bytes of a message that is compressed unless told otherwise."""


@given(
    st.text(st.characters(blacklist_categories=("Cs",))) | st.binary(),
    st.sampled_from([None, True, False]),
    st.text(st.characters() | st.characters(whitelist_categories=("Cs",))),
)
def test_what_is_sealed_is_unsealed(message, compress, exclude):
    prepared, excluded = unseal(seal(encode(message), compress, exclude))
    assert excluded == exclude
    assert prepared.plain == encode(message)
    size = len(message.encode() if isinstance(message, str) else message)
    compressed = size >= THRESHOLD if compress is None else compress and size > 0
    deflate = Deflate(Compression(threshold=THRESHOLD))
    assert prepared.is_compressed_for(deflate) is compressed


@pytest.mark.parametrize(
    "room", ["", "tea", "grün ☃ 😀", "\ud800", "\udfff\ud800", "\0", "x" * 70_000]
)
def test_any_room_may_be_excluded(room):
    assert unseal(seal(b"\x81\x00", None, room))[1] == room


def test_a_long_message(size=200_000):
    frame = encode(b"x" * size)
    assert unseal(seal(frame, None, "tea"))[0].plain == frame


def test_a_backplane_must_fulfil_the_whole_contract():
    with pytest.raises(TypeError, match="abstract"):
        Backplane()
    methods = ("start", "publish", "count", "presence", "stats", "stop")
    complete = type("Complete", (Backplane,), dict.fromkeys(methods, print))
    assert complete().lock is None, "a lock is optional"
    for missing in methods:
        rest = dict.fromkeys(set(methods) - {missing}, print)
        with pytest.raises(TypeError, match=missing):
            type("Partial", (Backplane,), rest)()

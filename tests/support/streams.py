"""Hypothesis strategies for what a client may send, and a comparable form of what it means."""

from __future__ import annotations

from typing import Any, Iterable, List, Tuple

from hypothesis import strategies as st

from tests.support.frames import BINARY, CLOSE, CONT, PING, PONG, TEXT, close_frame, frame
from ws.wire.events import PROTOCOL_ERROR, YIELD_TURN
from ws.wire.protocol import Protocol

Events = List[Tuple[int, Any]]

payloads = st.binary(max_size=130) | st.text(max_size=60).map(str.encode)
keys = st.binary(min_size=4, max_size=4)
frames = st.builds(
    frame, st.sampled_from([CONT, TEXT, BINARY]), payloads, st.booleans(), keys
) | st.builds(frame, st.sampled_from([PING, PONG]), payloads, st.just(True), keys)
oddities = (
    st.binary(max_size=20)
    | st.builds(frame, st.integers(0, 15), payloads, st.booleans(), keys, st.integers(0, 7))
    | st.builds(frame, st.just(CLOSE), st.binary(max_size=9), st.just(True), keys)
    | st.just(close_frame(4000, "bye"))
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Make streams: mostly frames in order; at times bytes are changed, inserted or left out."""
    parts = draw(st.lists(frames, max_size=8))
    for odd in draw(st.lists(oddities, max_size=1)):
        parts.append(odd)
    stream = bytearray(b"".join(parts))
    for at, old, new in draw(
        st.lists(
            st.tuples(st.integers(0, 999), st.integers(0, 2), st.binary(max_size=2)), max_size=2
        )
    ):
        start = at % (len(stream) + 1)
        stream[start : start + old] = new
    return bytes(stream)


def octets(stream: bytes) -> list[bytes]:
    """Split a stream into its bytes."""
    return [stream[i : i + 1] for i in range(len(stream))]


def feed(protocol: Protocol, *chunks: bytes) -> Events:
    """Return the events that *chunks* give, a fault with only its close code."""
    events = [event for chunk in chunks for event in protocol.feed(chunk)]
    return [(kind, value[0] if kind == PROTOCOL_ERROR else value) for kind, value in events]


def shown(events: Iterable[tuple[int, Any]]) -> Events:
    """Return what is compared of the protocol's events: for a fault only its close code."""
    return [
        (kind, value[0] if kind == PROTOCOL_ERROR else value)
        for kind, value in events
        if kind != YIELD_TURN
    ]

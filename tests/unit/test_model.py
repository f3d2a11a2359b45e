"""The protocol against a model that is slow and plainly right: any bytes, in any pieces."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support import model
from tests.support.wsclient import BINARY, CLOSE, CONT, PING, PONG, TEXT, close_frame, frame
from ws.protocol import FAIL, PAUSE, Protocol

MAX_SIZE, MAX_FRAGMENTS = 300, 4

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
def streams(draw):
    """Mostly frames in order; at times bytes are changed, put in or left out."""
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


def shown(events):
    """What is compared: of a fault its code."""
    return [(kind, value[0] if kind == FAIL else value) for kind, value in events if kind != PAUSE]


@given(streams(), st.lists(st.integers(0, 999), max_size=4))
def test_any_stream_in_any_pieces(stream, cuts):
    expected = [event[1:] for event in model.events(stream, MAX_SIZE, MAX_FRAGMENTS)]
    at = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    protocol = Protocol(MAX_SIZE, MAX_FRAGMENTS)
    got = [e for start, stop in zip(at, at[1:]) for e in protocol.feed(stream[start:stop])]
    assert shown(got) == expected


class Conversation(RuleBasedStateMachine):
    """Bytes come in, in pieces, and at some point the server closes or lets go."""

    @initialize()
    def begin(self):
        self.protocol = Protocol(MAX_SIZE, MAX_FRAGMENTS)
        self.stream = b""
        self.coming = b""  # what the peer has sent, and hasn't arrived
        self.got = []
        self.closed_at = None
        self.over = False

    @rule(data=frames | oddities)
    def send(self, data):
        self.coming += data

    @rule(size=st.integers(0, 300))
    def arrive(self, size):
        data, self.coming = self.coming[:size], self.coming[size:]
        if not self.over:
            self.stream += data
        self.got += shown(self.protocol.feed(data))

    @precondition(lambda self: not self.over)
    @rule()
    def close(self):
        frame = self.protocol.close(1000)
        assert bool(frame) is (self.closed_at is None)
        if self.closed_at is None:
            self.closed_at = len(self.stream)

    @rule()
    def end(self):
        self.protocol.end()
        self.over = True

    @invariant()
    def as_the_model_says(self):
        expected = []
        for at, kind, value in model.events(self.stream, MAX_SIZE, MAX_FRAGMENTS):
            unwanted = self.closed_at is not None and at > self.closed_at and kind in model.DATA
            if not unwanted:
                expected.append((kind, value))
        assert self.got == expected
        ended = bool(expected) and expected[-1][0] in (CLOSE, FAIL)
        assert self.protocol.done is (ended or self.over)
        assert self.protocol.done or not self.protocol.more


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=50, stateful_step_count=20)

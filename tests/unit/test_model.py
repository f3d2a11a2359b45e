"""The protocol and a slow, simple model agree on any bytes, in any pieces."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support import model
from tests.support.streams import frames, oddities, shown, streams
from ws.wire import events
from ws.wire.protocol import Protocol

MAX_SIZE, MAX_FRAGMENTS = 300, 4


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
        self.coming = b""  # sent by the peer, but not received yet
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
        ended = bool(expected) and expected[-1][0] in (events.CLOSE, events.PROTOCOL_ERROR)
        assert self.protocol.done is (ended or self.over)
        assert self.protocol.done or not self.protocol.more


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=50, stateful_step_count=20)

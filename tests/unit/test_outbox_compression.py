"""The outbox: messages that are compressed, with a context or without."""

from __future__ import annotations

import zlib

import pytest

from tests.support.lines import LIMIT, Attempt, Line, Plain
from tests.support.waiting import DEADLINE, eventually
from ws import Compression
from ws.wire.deflate import Deflate
from ws.wire.frames import RSV1
from ws.wire.message import PreparedMessage, PreparedMessages, encode


@pytest.fixture
def line():
    return Line(Plain())


def inflate(inflater, data):
    """Return the payload of a compressed frame of under 126 bytes."""
    assert data[0] & RSV1
    assert data[1] == len(data) - 2
    return inflater.decompress(data[2:] + b"\0\0\xff\xff")


def compressing(context, patience=DEADLINE):
    settings = Compression(threshold=10, server_context_takeover=context)
    return Line(Plain(), deflate=Deflate(settings), patience=patience)


def test_without_the_extension_everything_leaves_as_it_is(line):
    message = PreparedMessage(encode("x" * 100), compress=True)
    several = PreparedMessages([message, PreparedMessage(encode("y"))])
    assert line.outbox.put_prepared(message)
    assert line.outbox.put_prepared(several)
    assert line.wire.sent == message.plain + several.buffer
    assert line.outbox.messages_out == 3


@pytest.mark.parametrize("context", [False, True])
def test_what_is_long_enough_is_compressed(context):
    line = compressing(context)
    short, long = PreparedMessage(encode("x" * 9)), PreparedMessage(encode("x" * 10))
    assert line.outbox.put_prepared(PreparedMessages([short, long]))
    plain, compressed = line.wire.calls
    assert plain == short.plain
    assert inflate(zlib.decompressobj(-15), compressed) == b"x" * 10
    assert line.outbox.messages_out == 2


def test_with_a_context_a_message_refers_to_earlier_ones():
    line, inflater = compressing(True), zlib.decompressobj(-15)
    for _ in range(2):
        assert line.outbox.put_prepared(PreparedMessage(encode("a sentence to repeat")))
    first, second = line.wire.calls
    assert len(second) < len(first)
    for data in (first, second):
        assert inflate(inflater, data) == b"a sentence to repeat"


def test_while_a_thread_sends_with_the_context_others_go_ahead_uncompressed():
    line = compressing(True)
    line.fill()
    slow, quick = (PreparedMessage(encode(letter * 20)) for letter in "sq")
    attempt = Attempt(line.outbox.put_prepared, slow, DEADLINE)
    eventually(lambda: line.outbox.waiters)
    line.outbox.limit *= 2  # room for others, which the first one doesn't know of yet
    assert line.outbox.put_prepared(quick)
    line.unblock()
    assert attempt.get() is True
    sent = line.wire.sent[LIMIT:]
    assert sent.startswith(quick.plain)
    assert inflate(zlib.decompressobj(-15), sent[len(quick.plain) :]) == b"s" * 20


def test_a_message_that_was_compressed_but_not_sent_is_forgotten():
    line, inflater = compressing(True, patience=0), zlib.decompressobj(-15)
    messages = [PreparedMessage(encode(f"{name} sentence to repeat")) for name in "abc"]
    assert line.outbox.put_prepared(messages[0])
    line.fill()
    assert not line.outbox.put_prepared(messages[1])
    line.unblock()
    assert line.outbox.put_prepared(messages[2])
    assert inflate(inflater, line.wire.calls[0]) == b"a sentence to repeat"
    assert inflate(inflater, line.wire.calls[-1]) == b"c sentence to repeat"


def test_one_of_several_messages_that_is_refused_is_no_success():
    line = compressing(False, patience=0)
    line.fill(LIMIT - 5)
    messages = [PreparedMessage(encode("x" * size)) for size in (9, 1)]
    assert not line.outbox.put_prepared(PreparedMessages(messages))
    assert line.outbox.messages_out == 2


def test_a_context_counts_as_held_memory():
    line = compressing(True)
    message = PreparedMessage(encode("a sentence to repeat"))
    for _ in range(2):
        assert line.outbox.put_prepared(message)
        assert 100_000 < line.budget.total == line.held < 400_000
    line.dispose()
    assert line.budget.total == 0
    assert not line.outbox.put_prepared(message)


def test_a_context_that_is_made_while_the_client_leaves_is_not_counted(monkeypatch):
    line = compressing(True)
    deflated = PreparedMessage.deflated

    def leave(message, deflate):
        line.dispose()
        return deflated(message, deflate)

    monkeypatch.setattr(PreparedMessage, "deflated", leave)
    assert not line.outbox.put_prepared(PreparedMessage(encode("a sentence to repeat")))
    assert line.budget.total == 0

"""Messages to send, encoded as frames: RFC 6455 §5.4 and §5.6, RFC 7692 §6.1."""

from __future__ import annotations

import os
import zlib

import pytest

from tests.support.tables import table
from ws.wire.deflate import Compression, agree, negotiate
from ws.wire.handshake import parse_extensions
from ws.wire.message import (
    SMALL_BYTES,
    MaskedMessage,
    PreparedMessage,
    PreparedMessages,
    encode,
    fragments,
)

TAKEOVER = Compression(server_context_takeover=True, client_context_takeover=True)
TAIL = b"\x00\x00\xff\xff"


@table(
    "message, header, payload",
    ("5.6 text is UTF-8", "é", "81 02", b"\xc3\xa9"),
    ("5.6 binary is arbitrary", b"\xff", "82 01", b"\xff"),
    ("5.6 bytes of any kind", bytearray(b"\xff"), "82 01", b"\xff"),
    ("5.6 seen through a view", memoryview(b"abc")[::2], "82 02", b"ac"),
    ("5.2 empty", "", "81 00", b""),
    ("5.2 125 bytes", bytes(125), "82 7D", bytes(125)),
    ("5.2 bytes count, not characters", "é" * 63, "81 7E 007E", "é".encode() * 63),
)
def test_encode(message, header, payload):
    assert encode(message) == bytes.fromhex(header) + payload


@table(
    "chunks, sent",
    ("5.4 text", ["Hel", "l", "o"], ["01 03 48656C", "00 01 6C", "00 01 6F", "80 00"]),
    (
        "5.4 binary",
        [b"\0", bytearray(1), memoryview(b"")],
        ["02 01 00", "00 01 00", "00 00", "80 00"],
    ),
    ("5.4 one fragment and its end", ["é"], ["01 02 C3A9", "80 00"]),
    ("5.4 nothing: no fragments", [], ["81 00"]),
)
def test_fragments(chunks, sent):
    assert list(fragments(chunks)) == [bytes.fromhex(frame) for frame in sent]


@pytest.mark.parametrize("chunks", [[1], [None], ["a", 1], ["a", b"b"], [b"a", "b"]])
def test_fragments_of_one_message_are_all_text_or_all_binary(chunks):
    sent = fragments(chunks)
    assert len([next(sent) for _ in chunks[1:]]) == len(chunks) - 1
    with pytest.raises(TypeError):
        next(sent)


@pytest.mark.parametrize("message", [None, 1, {"type": "hello"}])
def test_what_is_no_iterable_of_fragments(message):
    with pytest.raises(TypeError, match="or an iterable of them, not"):
        next(fragments(message))


@pytest.mark.parametrize("message", [None, 1, ["x"]])
def test_message_that_is_neither_text_nor_binary(message):
    with pytest.raises(TypeError, match="a message is str or bytes, not"):
        encode(message)


def agreed(settings, **params):
    """Return the extension that a client gets who offers it with these parameters."""
    deflate, _ = negotiate([("permessage-deflate", list(params.items()))], settings)
    return deflate


def payload_of(frame):
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


@pytest.mark.parametrize(
    "size, compress, compressed",
    [
        (99, None, False),
        (100, None, True),
        (5, True, True),
        (0, True, False),
        (1000, False, False),
    ],
)
@pytest.mark.parametrize("kind", [0x1, 0x2])
def test_which_message_is_compressed(size, compress, compressed, kind):
    message = PreparedMessage(encode("x" * size if kind == 0x1 else b"x" * size), compress)
    deflate = agreed(Compression(threshold=100))
    assert message.is_compressed_for(deflate) is compressed
    if compressed:
        frame = message.deflated(deflate)
        assert frame[0] == 0xC0 | kind, "RFC 7692 §6: RSV1 is set"
        assert zlib.decompressobj(-15).decompress(payload_of(frame) + TAIL) == b"x" * size


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_payloads_of_all_lengths(size):
    message = PreparedMessage(encode(b"x" * size), True)
    frame = message.deflated(agreed(Compression()))
    assert zlib.decompressobj(-15).decompress(payload_of(frame) + TAIL) == b"x" * size


def test_a_message_is_compressed_once_for_equal_parameters():
    message = PreparedMessage(encode("x" * 5000))
    settings = Compression()
    clients = [agreed(settings), agreed(settings), agreed(settings, server_max_window_bits="9")]
    frames = [message.deflated(client) for client in clients]
    assert frames[0] is frames[1]
    assert frames[2] is not frames[0]
    for frame in frames:
        assert zlib.decompressobj(-9).decompress(payload_of(frame) + TAIL) == b"x" * 5000


@pytest.mark.parametrize("size", [SMALL_BYTES - 4, SMALL_BYTES - 3])
def test_a_message_for_many_is_a_view_of_one_buffer_unless_it_is_small(size):
    message = PreparedMessage(encode("x" * size), shared=True)
    assert message.buffer == message.plain
    assert isinstance(message.buffer, memoryview) is (len(message.plain) > SMALL_BYTES)
    assert PreparedMessage(message.plain).buffer is message.plain
    many = PreparedMessages([message])
    assert many.buffer == message.plain
    assert isinstance(many.buffer, memoryview) is (len(message.plain) > SMALL_BYTES)


def test_a_compressed_message_for_many_is_a_view_of_one_buffer():
    message = PreparedMessage(encode(os.urandom(1000)), True, shared=True)
    settings = Compression()
    one, other = message.deflated(agreed(settings)), message.deflated(agreed(settings))
    assert one is other
    assert isinstance(one, memoryview)
    assert isinstance(message.deflated(agreed(TAKEOVER)), bytes), "it is for one client"


def test_with_takeover_messages_share_the_window():
    deflate = agreed(TAKEOVER)
    payload = bytes(range(256)) * 2
    frames = [PreparedMessage(encode(payload), True).deflated(deflate) for _ in range(3)]
    assert len(frames[1]) < len(frames[0]) / 10
    inflater = zlib.decompressobj(-15)
    for frame in frames:
        assert inflater.decompress(payload_of(frame) + TAIL) == payload


def test_a_message_that_was_not_sent_leaves_no_trace_in_the_window():
    deflate = agreed(TAKEOVER)
    first = PreparedMessage(encode(bytes(range(256))), True).deflated(deflate)
    PreparedMessage(encode(b"lost" * 100), True).deflated(deflate)
    deflate.forget()
    third = PreparedMessage(encode(b"lost" * 100), True).deflated(deflate)
    inflater = zlib.decompressobj(-15)
    assert inflater.decompress(payload_of(first) + TAIL) == bytes(range(256))
    assert inflater.decompress(payload_of(third) + TAIL) == b"lost" * 100


def test_several_messages_in_a_row():
    one, two = PreparedMessage(encode("1")), PreparedMessage(encode("2"))
    both = PreparedMessages([one, two])
    assert (both.buffer, both.count, list(both.messages)) == (one.plain + two.plain, 2, [one, two])
    assert (one.count, list(one.messages)) == (1, [one])


def test_a_client_masks_it_anew_each_time():
    answer = "permessage-deflate; server_no_context_takeover"
    deflate = agree(parse_extensions(answer)[0][1], Compression())
    message = MaskedMessage(encode("x" * 2000))
    assert message.is_compressed_for(deflate)
    frames = [message.buffer, *(message.deflated(deflate) for _ in range(2))]
    assert all(frame[1] & 0x80 for frame in frames)
    assert frames[1] != frames[2]
    assert len(frames[1]) < 100 < len(frames[0])
    assert not MaskedMessage(encode("x" * 2000), False).is_compressed_for(deflate)


def test_a_window_of_8_bits_is_too_small_for_zlib():
    answer = "permessage-deflate; server_no_context_takeover; client_max_window_bits=8"
    deflate = agree(parse_extensions(answer)[0][1], Compression())
    assert not MaskedMessage(encode("x" * 2000), True).is_compressed_for(deflate)

"""RFC 6455 as tables: bytes from a client in, events out; a row for each MUST of §5, §7, §8.1.

What holds for any stream is in test_protocol_properties.py.
"""

from __future__ import annotations

from struct import pack

import pytest

from tests.support.frames import masked
from tests.support.streams import feed, octets
from tests.support.tables import table
from ws.wire import events as kinds
from ws.wire.events import PROTOCOL_ERROR, YIELD_TURN
from ws.wire.frames import BINARY, CLOSE, CONT, FIN, PING, PONG, RSV1, RSV2, RSV3, TEXT
from ws.wire.protocol import FRAGMENT_BYTES, TURN_BYTES, Protocol

F_CONT, F_TEXT, F_BINARY = FIN | CONT, FIN | TEXT, FIN | BINARY
F_CLOSE, F_PING, F_PONG = FIN | CLOSE, FIN | PING, FIN | PONG


text_hello, hel, lo = masked(F_TEXT, b"Hello"), masked(TEXT, b"Hel"), masked(F_CONT, b"lo")
ping, pong = masked(F_PING, b"p"), masked(F_PONG, b"q")
close = masked(F_CLOSE, b"\x03\xe8")
half_e, E = masked(TEXT, b"\xc3"), (TEXT, "é")
BOUNDS = "\0\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"
TURN = YIELD_TURN, ""
HELLO, CLOSED = (TEXT, "Hello"), (kinds.CLOSE, (1000, ""))
PINGED, PONGED = (kinds.PING, b"p"), (kinds.PONG, b"q")


@table(
    "stream, events",
    ("5.7 a single-frame masked text message", text_hello, [HELLO]),
    ("5.7 those very bytes", bytes.fromhex("818537fa213d7f9f4d5158"), [HELLO]),
    ("5.2 a payload of 0 bytes", masked(F_TEXT), [(TEXT, "")]),
    ("5.2 0-125", masked(F_BINARY, b"b" * 125), [(BINARY, b"b" * 125)]),
    ("5.2 126: 2 bytes", masked(F_BINARY, b"b" * 126), [(BINARY, b"b" * 126)]),
    ("5.2 127: 8 bytes", masked(F_TEXT, b"t" * 65536), [(TEXT, "t" * 65536)]),
    ("5.3 any key", masked(F_BINARY, bytes(9), b"\0\xff\x80\1"), [(BINARY, bytes(9))]),
    ("5.3 a fresh key each frame", hel + masked(F_CONT, b"lo", b"abcd"), [HELLO]),
    ("5.4 a fragmented text message", hel + lo, [HELLO]),
    ("5.4 a fragmented binary one", masked(BINARY, b"\xff") + lo, [(BINARY, b"\xfflo")]),
    ("5.4 many fragments", hel + masked(CONT, b"-") * 3 + lo, [(TEXT, "Hel---lo")]),
    ("5.4 empty fragments", masked(TEXT) + masked(CONT) + masked(F_CONT), [(TEXT, "")]),
    ("5.4 control frames MAY be injected", hel + ping + pong + lo, [PINGED, PONGED, HELLO]),
    ("5.4 messages follow each other", hel + lo + text_hello * 2, [HELLO] * 3),
    ("5.5 control frames of 125 bytes", masked(F_PING, b"p" * 125), [(kinds.PING, b"p" * 125)]),
    ("5.5.1 close MAY contain a body", masked(F_CLOSE), [(kinds.CLOSE, (1005, ""))]),
    ("5.5.1 a status code", close, [CLOSED]),
    ("5.5.1 and a reason", masked(F_CLOSE, b"\x0f\xa0bye"), [(kinds.CLOSE, (4000, "bye"))]),
    ("7.1.5 close in a fragmented message", hel + close, [CLOSED]),
    ("1.4 after close, data is discarded", close + text_hello + b"junk", [CLOSED]),
    ("5.5.2 ping MAY include data", ping + masked(F_PING), [PINGED, (kinds.PING, b"")]),
    ("5.5.3 unsolicited pong", pong, [PONGED]),
    ("5.6 binary is arbitrary", masked(F_BINARY, b"\xff\xfe"), [(BINARY, b"\xff\xfe")]),
    ("5.6 text might be cut in a character", half_e + ping + masked(F_CONT, b"\xa9"), [PINGED, E]),
    ("8.1 the bounds of UTF-8", masked(F_TEXT, BOUNDS.encode()), [(TEXT, BOUNDS)]),
    ("part of a header is nothing yet", text_hello + b"\x81", [HELLO]),
    ("part of a control frame", ping[:-1], []),
    ("part of a message", hel + lo[:-1], []),
)
def test_accepted(stream, events):
    for chunks in ([stream], octets(stream)):
        protocol = Protocol()
        assert feed(protocol, *chunks) == events
        assert protocol.done is (events[-1:] != [] and events[-1][0] == kinds.CLOSE)


NOTHING = (b"", [])  # before the fault
IN_MESSAGE = (hel, [])
IN_CHARACTER = (half_e, [])


@table(
    "before, fault, code",
    ("5.1 MUST close upon a frame that is not masked", NOTHING, b"\x81\x05", 1002),
    ("5.1 nor may a control frame be unmasked", NOTHING, b"\x89\x00", 1002),
    ("5.2 RSV1 MUST be 0", NOTHING, bytes([FIN | RSV1 | TEXT, 0x80]), 1002),
    ("5.2 RSV2 MUST be 0", NOTHING, bytes([FIN | RSV2 | BINARY, 0x80]), 1002),
    ("5.2 RSV3 MUST be 0", NOTHING, bytes([FIN | RSV3 | PING, 0x80]), 1002),
    ("5.2 also in a fragment", IN_MESSAGE, bytes([FIN | RSV1 | CONT, 0x80]), 1002),
    *(
        (f"5.2 unknown opcode {opcode:X}", NOTHING, bytes([fin | opcode, 0x80]), 1002)
        for opcode in (3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF)
        for fin in (0, FIN)
    ),
    ("5.2 the fewest bytes MUST be used: not 2", NOTHING, bytes.fromhex("82 FE 007D"), 1002),
    ("5.2 the fewest bytes MUST be used: not 8", NOTHING, b"\x82\xff" + pack("!Q", 65535), 1002),
    ("5.2 the most significant bit MUST be 0", NOTHING, b"\x82\xff" + pack("!Q", 1 << 63), 1002),
    ("5.4 a continuation of nothing", NOTHING, masked(CONT)[:2], 1002),
    ("5.4 a last fragment of nothing", NOTHING, lo[:2], 1002),
    ("5.4 or of a message that is over", (hel + lo, [HELLO]), lo[:2], 1002),
    ("5.4 or of an unfragmented one", (text_hello, [HELLO]), lo[:2], 1002),
    ("5.4 fragments MUST NOT be interleaved", IN_MESSAGE, text_hello[:2], 1002),
    ("5.4 even if they start alike", IN_MESSAGE, masked(BINARY)[:2], 1002),
    ("5.5 close MUST NOT be fragmented", NOTHING, masked(CLOSE)[:2], 1002),
    ("5.5 ping MUST NOT be fragmented", NOTHING, masked(PING)[:2], 1002),
    ("5.5 pong MUST NOT be fragmented", IN_MESSAGE, masked(PONG)[:2], 1002),
    ("5.5 MUST have 125 bytes or less: ping", NOTHING, b"\x89\xfe", 1002),
    ("5.5 MUST have 125 bytes or less: close", NOTHING, b"\x88\xff", 1002),
    ("5.5.1 the first two bytes MUST be a code", NOTHING, masked(F_CLOSE, b"\3"), 1002),
    ("7.4.1 1005 MUST NOT be in a frame", NOTHING, masked(F_CLOSE, b"\x03\xed"), 1002),
    ("8.1 the reason MUST be UTF-8", NOTHING, masked(F_CLOSE, b"\x03\xe8\xff"), 1007),
    ("8.1 a message cut inside a character", NOTHING, masked(F_TEXT, b"\xe2\x82"), 1007),
    ("8.1 broken off in its last fragment", IN_CHARACTER, masked(F_CONT, b"."), 1007),
    ("8.1 cut, and an empty last fragment", IN_CHARACTER, masked(F_CONT), 1007),
    ("after a message", (text_hello + ping, [HELLO, PINGED]), b"\x81\x05", 1002),
)
def test_refused(before, fault, code):
    """Each with its code, as soon as the last byte shown is in, and not before."""
    stream, events = before
    assert feed(Protocol(), stream + fault[:-1]) == events
    failed = [*events, (PROTOCOL_ERROR, code)]
    for chunks in ([stream + fault + text_hello], [stream, fault, close], octets(stream + fault)):
        protocol = Protocol()
        assert feed(protocol, *chunks) == failed, "7.1.7 MUST NOT process anything behind it"
        assert protocol.done


@table(
    "fault, reason",
    ("5.1", "81 05", "must be masked"),
    ("5.2 RSV1-3", "B1 80", "reserved bit set"),
    ("5.2 non-control opcode", "07 80", "reserved opcode 0x7"),
    ("5.2 control opcode", "8B 80", "reserved opcode 0xb"),
    ("5.2 the fewest bytes", "82 FE 007D", "length not in its shortest form"),
    ("5.4", "80 80", "continuation of no message"),
    ("5.5 fragmented", "08 80", "fragmented control frame"),
    ("5.5 too long", "89 FE", "control frame over 125 bytes"),
)
def test_reason_tells_what_is_wrong(fault, reason):
    ((kind, error),) = Protocol().feed(bytes.fromhex(fault))
    assert kind == PROTOCOL_ERROR
    assert reason in error[1]


BAD_UTF8 = {
    "a lone continuation byte": "80",
    "a continuation byte too many": "C3 A9 A9",
    "a lead byte instead of a continuation": "E2 E2",
    "ASCII instead of a continuation": "F0 9F 98 41",
    "overlong: two bytes for one": "C1",
    "overlong: three bytes for two": "E0 9F",
    "overlong: four bytes for three": "F0 8F",
    "the first surrogate": "ED A0",
    "the last surrogate": "ED BF",
    "above U+10FFFF": "F4 90",
    "a lead byte above U+13FFFF": "F5",
    "a byte that UTF-8 never has": "FF",
}


@pytest.mark.parametrize("bad", BAD_UTF8.values(), ids=BAD_UTF8)
@pytest.mark.parametrize("first", [TEXT, F_TEXT])
def test_text_fails_at_its_first_bad_byte(first, bad):
    """§8.1 MUST fail; at once, though the frame isn't over."""
    good_and_bad = b"ok" + bytes.fromhex(bad)
    stream = masked(first, good_and_bad + b" and more")
    at = 6 + len(good_and_bad)
    assert feed(Protocol(), stream[: at - 1]) == []
    assert feed(Protocol(), stream[: at - 1], stream[at - 1 : at]) == [(PROTOCOL_ERROR, 1007)]
    assert feed(Protocol(), stream) == [(PROTOCOL_ERROR, 1007)]


@table(
    "stream, events",
    ("as much as is allowed", masked(F_TEXT, b"x" * 200), [(TEXT, "x" * 200)]),
    ("in fragments", masked(BINARY, bytes(198)) + lo, [(BINARY, bytes(198) + b"lo")]),
    ("each message anew", masked(F_TEXT, b"x" * 200) * 2, [(TEXT, "x" * 200)] * 2),
    (
        "7.4.1 too big: by its declared length",
        b"\x82\xfe" + pack("!H", 201),
        [(PROTOCOL_ERROR, 1009)],
    ),
    ("as long as can be told", b"\x82\xff" + pack("!Q", (1 << 63) - 1), [(PROTOCOL_ERROR, 1009)]),
    ("all fragments together", masked(BINARY, bytes(199)) + lo[:2], [(PROTOCOL_ERROR, 1009)]),
    ("that many fragments", hel + masked(CONT) + lo, [HELLO]),
    ("one fragment more", hel + masked(CONT) * 2 + lo[:2], [(PROTOCOL_ERROR, 1009)]),
    ("fragments are counted anew", (hel + masked(CONT) + lo) * 2, [HELLO] * 2),
    ("control frames don't count", hel + ping * 4 + lo, [PINGED] * 4 + [HELLO]),
)
def test_limits(stream, events):
    """§10.4: 200 bytes in three fragments."""
    assert feed(Protocol(max_message_size=200, max_fragments=3), stream) == events


def test_next_frame_is_not_parsed_before_its_event_is_asked_for():
    events = Protocol().feed(text_hello + b"\x81\x05")
    assert next(events) == HELLO
    assert next(events)[0] == PROTOCOL_ERROR
    assert next(events, None) is None


@table(
    "chunks, more",
    ("the last event of a read", [text_hello], [False]),
    ("more whole frames", [ping + text_hello + pong], [True, True, False]),
    ("part of a frame", [text_hello + b"\x81"], [True]),
    ("a message begun in an earlier read", [hel[:8], hel[8:] + lo + ping], [True, False]),
    ("a frame begun in an earlier read", [text_hello[:8], text_hello[8:]], [False]),
    ("and frames behind it", [text_hello[:8], text_hello[8:] + ping], [True, False]),
    ("a fault", [text_hello + b"\x81\x05 and more"], [True, False]),
    ("close, the last of all", [ping + close], [True, False]),
)
def test_more_tells_whether_bytes_are_left(chunks, more):
    protocol = Protocol()
    assert [protocol.more for chunk in chunks for _ in protocol.feed(chunk)] == more
    assert not protocol.more


def test_close_is_sent_once():
    """§5.5.1: MUST NOT send any more frames after a close frame."""
    protocol = Protocol()
    with pytest.raises(ValueError):
        protocol.close(1006)
    assert not protocol.close_sent
    assert protocol.close(1000, "bye") == b"\x88\x05\x03\xe8bye"
    assert protocol.close_sent
    assert protocol.close(1000, "bye") == b""


@table(
    "before, stream, events",
    ("messages are not reported", b"", text_hello + hel + lo + ping, [PINGED]),
    ("nor one that was under way", hel, lo + pong, [PONGED]),
    ("nor one within a frame", text_hello[:8], text_hello[8:] + pong, [PONGED]),
    ("1.4 the peer's close is awaited", hel, ping + close, [PINGED, CLOSED]),
    ("7.1.7 a fault is still one", hel, lo + b"\x81\x05", [(PROTOCOL_ERROR, 1002)]),
    (
        "8.1 in text that nobody asks for, too",
        b"",
        masked(F_TEXT, b"\xff"),
        [(PROTOCOL_ERROR, 1007)],
    ),
    ("8.1 also in fragments", hel, masked(F_CONT, b"\xff"), [(PROTOCOL_ERROR, 1007)]),
)
def test_after_close(before, stream, events):
    protocol = Protocol()
    assert feed(protocol, before) == []
    protocol.close(1000)
    assert feed(protocol, stream) == events


def test_at_the_end_everything_is_let_go():
    protocol = Protocol()
    assert feed(protocol, hel) == []
    protocol.end()
    assert protocol.done
    assert feed(protocol, lo, text_hello) == []


def test_much_work_leaves_the_others_a_turn():
    """Fragments give no events, so without a YIELD_TURN a flood of them would hold the thread."""
    flood = masked(CONT) * (3 * TURN_BYTES // FRAGMENT_BYTES)
    events = feed(Protocol(), masked(TEXT) + flood + masked(F_CONT, b"."))
    assert events == [TURN] * 3 + [(TEXT, ".")]


def test_after_much_work_the_end_of_a_read_is_a_turn_of_its_own():
    flood = masked(CONT) * (TURN_BYTES // FRAGMENT_BYTES - 1)
    assert feed(Protocol(), masked(TEXT) + flood, masked(CONT), masked(F_CONT)) == [(TEXT, "")]

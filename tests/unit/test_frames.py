"""RFC 6455 §5 and §7.4 as bytes: frames sent, payloads unmasked, close payloads both ways."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws.wire import frames
from ws.wire.frames import BINARY, CLOSE, CONT, PING, PONG, TEXT, CloseCode, ProtocolError


def table(names, *rows):
    """Run a test for each row. A row starts with its name: the clause that it shows."""
    return pytest.mark.parametrize(names, [pytest.param(*row[1:], id=row[0]) for row in rows])


def model_mask(payload: bytes, key: bytes) -> bytes:
    """§5.3 to the letter: octet i of the payload XOR octet i modulo 4 of the key."""
    return bytes(octet ^ key[i % 4] for i, octet in enumerate(payload))


@table(
    "opcode, payload, fin, header",
    ("5.7 a single-frame text message", TEXT, b"Hello", True, "81 05"),
    ("5.7 a fragment", TEXT, b"Hel", False, "01 03"),
    ("5.7 the last fragment", CONT, b"lo", True, "80 02"),
    ("5.7 ping", PING, b"Hello", True, "89 05"),
    ("5.7 pong", PONG, b"Hello", True, "8A 05"),
    ("5.5.1 close", CLOSE, b"\x03\xe8", True, "88 02"),
    ("5.2 no payload", BINARY, b"", True, "82 00"),
    ("5.2 a middle fragment: no FIN, no opcode", CONT, b"", False, "00 00"),
    ("5.2 0-125 is the payload length", BINARY, bytes(125), True, "82 7D"),
    ("5.2 if 126, the following 2 bytes", BINARY, bytes(126), True, "82 7E 007E"),
    ("5.2 as many as 2 bytes can tell", TEXT, bytes(65535), False, "01 7E FFFF"),
    ("5.2 if 127, the following 8 bytes", TEXT, bytes(65536), True, "81 7F 0000000000010000"),
)
def test_frame(opcode, payload, fin, header):
    """§5.1 a server MUST NOT mask: the payload stands as it is."""
    assert frames.frame(opcode, payload, fin) == bytes.fromhex(header) + payload


def test_names():
    """§5.2 and §7.4.1."""
    assert (CONT, TEXT, BINARY, CLOSE, PING, PONG) == (0x0, 0x1, 0x2, 0x8, 0x9, 0xA)
    assert (frames.FIN, frames.RSV1, frames.RSV2, frames.RSV3) == (0x80, 0x40, 0x20, 0x10)
    assert (CloseCode.NORMAL, CloseCode.GOING_AWAY, CloseCode.PROTOCOL_ERROR) == (1000, 1001, 1002)
    assert (CloseCode.NO_STATUS, CloseCode.ABNORMAL) == (1005, 1006)
    assert (CloseCode.INVALID_PAYLOAD, CloseCode.TOO_BIG) == (1007, 1009)
    assert CloseCode.INTERNAL_ERROR == 1011


@pytest.fixture(params=["NumPy", "no NumPy"])
def numpy(request, monkeypatch):
    """With the extra `fast`, if it is installed, and without."""
    if request.param != "NumPy":
        monkeypatch.setattr(frames, "numpy", None)
    elif frames.numpy is None:
        pytest.skip("NumPy isn't installed")


LENGTHS = [0, 1, 2, 3, 4, 5, 126, 510, 511, 512, 513, 514, 515, 1023, 1024, 1025, 1026, 65539]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("length", LENGTHS)
def test_unmask_any_length(length, kind, numpy):
    payload, key = bytes(i * 7 & 0xFF for i in range(length)), b"\x00\x80\xff\x5a"
    source = kind(payload)
    assert frames.unmask(source, key) == model_mask(payload, key)
    assert source == payload, "left as it was"


@given(
    st.binary(max_size=40) | st.binary(min_size=500, max_size=600),
    st.binary(min_size=4, max_size=4),
)
def test_masking_twice_gives_the_payload(payload, key):
    masked = frames.unmask(payload, key)
    assert masked == model_mask(payload, key)
    assert frames.unmask(masked, key) == payload


def test_close_codes_that_may_be_in_a_frame():
    valid = {
        *(1000, 1001, 1002, 1003),  # §7.4.1, where 1004 is reserved
        # §7.4.1: 1005, 1006 and 1015 "MUST NOT be set as a status code in a Close control frame"
        *(1007, 1008, 1009, 1010, 1011),  # §7.4.1
        *(1012, 1013, 1014),  # registered since; §7.4.2 reserves the others up to 2999
        *range(3000, 4000),  # §7.4.2: for libraries and applications, registered
        *range(4000, 5000),  # §7.4.2: for private use
    }
    assert {code for code in range(1 << 16) if frames.valid_close_code(code)} == valid


@table(
    "payload, code, reason",
    ("7.1.5 no code in it: 1005", b"", 1005, ""),
    ("5.5.1 a 2-byte unsigned integer in network byte order", b"\x03\xe8", 1000, ""),
    ("5.5.1 following it, UTF-8-encoded data", b"\x0f\xa0z\xc3\xa9", 4000, "zé"),
    ("5.5 at most 125 bytes", b"\x03\xe9" + b"x" * 123, 1001, "x" * 123),
    ("5.5 bytes count, not characters", b"\x13\x87" + b"\xc3\xa9" * 61, 4999, "é" * 61),
)
def test_close_payload(payload, code, reason):
    assert frames.close_payload(code, reason) == payload
    assert frames.parse_close(payload) == (code, reason)


@table(
    "payload, code, reason",
    ("5.5.1 the first two bytes MUST be a code", b"\x03", 1002, "one byte"),
    ("7.4.2 0-999 are not used", b"\x03\xe7", 1002, "code 999"),
    ("7.4.1 1005 MUST NOT be set", b"\x03\xed", 1002, "code 1005"),
    ("7.4.2 nothing from 5000 on", b"\x13\x88", 1002, "code 5000"),
    ("8.1 the reason has a byte that is never UTF-8", b"\x03\xe8\xff", 1007, "not UTF-8"),
    ("8.1 the reason ends inside a character", b"\x03\xe8\xe2\x82", 1007, "not UTF-8"),
    ("the code is looked at first", b"\x00\x00\xff", 1002, "code 0"),
)
def test_close_payload_received_in_vain(payload, code, reason):
    with pytest.raises(ProtocolError) as caught:
        frames.parse_close(payload)
    assert caught.value.code == code
    assert reason in caught.value.reason


@table(
    "code, reason, message",
    ("7.4.1 1006 MUST NOT be set", 1006, "", "1006 may not be sent"),
    ("7.4.2 0-999 are not used", 999, "", "999 may not be sent"),
    ("not even a 16-bit number", -1, "", "-1 may not be sent"),
    ("5.5 at most 125 bytes", 1000, "x" * 124, "123 bytes"),
    ("5.5 bytes count, not characters", 1000, "é" * 62, "123 bytes"),
    ("8.1 a lone surrogate has no UTF-8", 1000, "\ud800", "surrogates not allowed"),
)
def test_close_payload_not_sent(code, reason, message):
    with pytest.raises(ValueError, match=message):
        frames.close_payload(code, reason)


@given(st.binary(max_size=125) | st.binary(max_size=9).map(b"\x03\xe8".__add__))
def test_any_close_payload_is_understood_or_a_protocol_error(payload):
    try:
        code, reason = frames.parse_close(payload)
    except ProtocolError as error:
        assert error.code in (1002, 1007)
    else:
        assert frames.close_payload(code, reason) == payload


@pytest.mark.parametrize("size", [0, 1, 125, 126, 600, 65535, 65536, 70_001])
@pytest.mark.parametrize("fin", [False, True])
def test_masked_frames(size, fin):
    payload = os.urandom(size)
    plain, data = frames.frame(BINARY, payload, fin), frames.masked_frame(BINARY, payload, fin)
    start = len(plain) - size
    key = data[start : start + 4]
    assert data[0] == plain[0]
    assert data[1] == plain[1] | 0x80
    assert data[2:start] == plain[2:start]
    assert frames.unmask(data[start + 4 :], key) == payload


def test_each_masked_frame_has_its_key():
    """§5.3: a fresh one, which nobody can predict."""
    assert len({frames.mask(frames.frame(TEXT, b""))[2:] for _ in range(100)}) > 95

"""RFC 6455 §7, closing: what is answered, who closes TCP first, and the deadlines.

It also has the reasons to fail a connection that Autobahn doesn't try.
"""

from __future__ import annotations

import struct
import time

import pytest

from conformance.server import Serve, Server
from conformance.wire import OPCODES, Row, close, table, text
from tests.support.frames import CLOSE, frame
from tests.support.rawclient import RawClient, connect
from tests.support.waiting import LATE

SMALL = "--set max_message_size=1000"
SHORT_SECONDS = 1.0
"""A deadline that tests set; it may be missed by LATE seconds."""


def heard(peer: RawClient) -> list[str]:
    """Return what comes until the server closes TCP; "reset" at the end if it resets it."""
    found: list[str] = []
    try:
        while True:
            opcode, payload, _ = peer.recv_frame()
            if opcode == CLOSE:
                code = f" {int.from_bytes(payload[:2], 'big')}" if payload else ""
                found.append(f"close{code}")
            else:
                found.append(OPCODES[opcode])
    except EOFError:
        return found
    except ConnectionError:
        return [*found, "reset"]


@table(
    ("6455 §5.5.1", "the endpoint MUST send a Close frame in response", close(), "close"),
    ("6455 §5.5.1", "the endpoint typically echos the status code it received", close(1000, "bye"),
     "close 1000"),
    ("6455 §7.4.2", "Status codes in the range 4000-4999 are reserved for private use", close(4999),
     "close 4999"),
    ("6455 §7.4.1", "1005 [...] MUST NOT be set as a status code in a Close control frame",
     close(1005), "close 1002"),
    ("6455 §7.4.1", "1006 [...] MUST NOT be set as a status code in a Close control frame",
     close(1006), "close 1002"),
    ("6455 §7.4.1", "1015 [...] MUST NOT be set as a status code in a Close control frame",
     close(1015), "close 1002"),
    ("6455 §5.5.1", "the first two bytes of the body MUST be a 2-byte unsigned integer",
     frame(8, b"\x03"), "close 1002"),
    ("6455 §5.5.1", "the body MAY contain UTF-8-encoded data",
     frame(8, b"\x03\xe8\xc3\x28"), "close 1007"),
    ("6455 §5.5", "All control frames MUST have a payload length of 125 bytes or less",
     close(1000, "x" * 124), "close 1002"),
    ("6455 §7.1.1", "discarding any trailing bytes that may have been received",
     close(1000) + text("too late"), "close 1000"),
    ("6455 §5.5.2", "MUST send a Pong frame [...] unless it already received a Close frame",
     close(1000) + frame(9, b"too late"), "close 1000"),
    ("6455 §5.4", "Control frames MAY be injected in the middle of a fragmented message",
     text("half", fin=False) + close(1000), "close 1000"),
    ("6455 §5.1", "close the connection upon receiving a frame that is not masked",
     b"\x81\x05Hello", "close 1002"),
    ("6455 §5.1", "close the connection upon receiving a frame that is not masked", b"\x88\0",
     "close 1002"),
    ("6455 §5.2", "the minimal number of bytes MUST be used to encode the length",
     b"\x81\xfe\0\x05\0\0\0\0Hello", "close 1002"),
    ("6455 §5.2", "the minimal number of bytes MUST be used to encode the length",
     b"\x81\xff" + struct.pack("!Q", 126) + b"\0\0\0\0" + b"x" * 126, "close 1002"),
    ("6455 §5.2", "the most significant bit MUST be 0", b"\x82\xff" + b"\xff" * 8, "close 1002"),
    ("6455 §7.1.7", "MUST NOT continue to attempt to process data (including a [...] Close frame)",
     b"\x83\x80\0\0\0\0" + text("too late") + close(1000), "close 1002"),
    ("6455 §10.4", "MUST protect themselves against exceeding those limits",
     b"\x82\xff" + struct.pack("!Q", 1 << 60), "close 1009"),
    ("6455 §10.4", "a long stream of small frames that are a part of a fragmented message",
     text("x" * 600, fin=False) + frame(0, b"x" * 600), "close 1009"),
)  # fmt: skip
def test_closing(serve: Serve, row: Row) -> None:
    """A close frame is answered, an error is told; then the server closes TCP first"""
    with connect(serve(SMALL).port) as peer:
        peer.sock.sendall(row.sent)
        assert tuple(heard(peer)) == row.back


@table(
    ("6455 §7.1.2", "an endpoint MUST send a Close control frame [...] set to /code/", text("4000"),
     "close 4000"),
    ("6455 §5.5.1", "MUST NOT send any more data frames after sending a Close frame",
     text("1000") + text("1001"), "close 1000"),
)  # fmt: skip
def test_started_by_the_server(serve: Serve, row: Row) -> None:
    """Started by the server, which closes TCP once it is answered, and not before"""
    with connect(serve("--reply by-closing").port) as peer:
        peer.sock.sendall(row.sent)
        assert f"close {peer.recv()[0]}" == row.back[0]
        peer.sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            peer.at_eof()
        peer.sock.settimeout(LATE)
        peer.sock.sendall(close(1000))
        assert heard(peer) == []


@table(
    ("6455 §7.1.1", "SHOULD be closed first by the server, so that it holds the TIME_WAIT state",
     close(1000), "close 1000"),
)  # fmt: skip
def test_lingering(serve: Serve, row: Row) -> None:
    """Half of TCP first, then what still comes is read, until the deadline"""
    with connect(serve(f"--set close_timeout={SHORT_SECONDS}").port) as peer:
        peer.sock.sendall(row.sent)
        begun = time.monotonic()
        assert tuple(heard(peer)) == row.back
        assert time.monotonic() - begun < SHORT_SECONDS
        peer.sock.sendall(b"late")  # to a closed descriptor, this brings a reset
        with pytest.raises(ConnectionError):
            while time.monotonic() - begun < LATE:
                time.sleep(0.02)
                peer.sock.sendall(b"later")
        assert time.monotonic() - begun > SHORT_SECONDS / 2


@table(
    ("6455 §7.2.2", "the server MUST simply _Close the WebSocket Connection_", b""),
    ("6455 §7.2.2", "the server MUST simply _Close the WebSocket Connection_",
     b"GET / HTTP/1.1\r\nHost: x\r\n"),
)  # fmt: skip
def test_deadline_of_the_handshake(serve: Serve, row: Row) -> None:
    """open_timeout, for a handshake that doesn't come"""
    begun = time.monotonic()
    with RawClient(serve(f"--set open_timeout={SHORT_SECONDS}").port) as peer:
        peer.sock.sendall(row.sent)
        assert peer.at_eof()
    assert SHORT_SECONDS / 2 < time.monotonic() - begun < LATE


@table(
    ("6455 §7.1.1", "An endpoint MAY close the connection via any means available", text("1000"),
     "close 1000"),
)  # fmt: skip
def test_deadline_of_the_answer(serve: Serve, row: Row) -> None:
    """close_timeout, for a close frame that isn't answered"""
    assert_cut(serve(f"--reply by-closing --set close_timeout={SHORT_SECONDS}"), row)


@table(
    ("6455 §5.5.2", "a means to verify that the remote endpoint is still responsive", b"", "ping"),
)  # fmt: skip
def test_deadline_of_the_pong(serve: Serve, row: Row) -> None:
    """ping_timeout, for a ping that isn't answered"""
    assert_cut(serve(f"--set ping_interval={SHORT_SECONDS} ping_timeout={SHORT_SECONDS}"), row)


def assert_cut(server: Server, row: Row) -> None:
    with connect(server.port) as peer:
        begun = time.monotonic()
        peer.sock.sendall(row.sent)
        assert tuple(said for said in heard(peer) if said != "reset") == row.back
        assert SHORT_SECONDS / 2 < time.monotonic() - begun < LATE

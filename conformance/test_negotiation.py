"""RFC 7692 §7, permessage-deflate: what is agreed on for an offer, and what may be sent then."""

from __future__ import annotations

from conformance.server import Serve, Server
from conformance.wire import Row, table
from tests.support.frames import frame
from tests.support.heads import GET, head
from tests.support.rawclient import RawClient, connect

DEFAULT = "--compress"
"""The server keeps no context of its own, and clients may."""
NONE = "--compress client_context_takeover=False"
CONTEXTS = "--compress server_context_takeover=True client_context_takeover=True"
NO_CONTEXTS = "; server_no_context_takeover; client_no_context_takeover"


def offer(parameters: str, *more: str) -> bytes:
    """Return a handshake that offers the extension; with *more* offers, each in its own field."""
    fields = [f"Sec-WebSocket-Extensions: permessage-deflate{one}" for one in (parameters, *more)]
    return head(GET, *fields)


def agreed(server: Server, sent: bytes) -> str | None:
    """Return the parameters that the server agrees on, None if it declines all offers."""
    with RawClient(server.port, sent) as peer:
        assert peer.status == 101
        found = [
            line.partition(": ")[2]
            for line in peer.response.split("\r\n")
            if line.lower().startswith("sec-websocket-extensions:")
        ]
    assert len(found) <= 1
    return found[0][len("permessage-deflate") :] if found else None


@table(
    ("7692 §7.1", "The negotiation offer contains an extension parameter not defined for use",
     offer("; max_window_bits=10"), None),
    ("7692 §7.1", "The negotiation offer contains an extension parameter with an invalid value",
     offer("; server_no_context_takeover=1"), None),
    ("7692 §7.1", "The negotiation offer contains an extension parameter with an invalid value",
     offer("; client_no_context_takeover=true"), None),
    ("7692 §7.1", "The negotiation offer contains multiple extension parameters with the same name",
     offer("; client_max_window_bits; client_max_window_bits=10"), None),
    ("7692 §7.1", "The server doesn't support the offered configuration",
     offer("; server_max_window_bits=8"), None),
    ("7692 §7.1.2.1", "a decimal integer value [...] between 8 to 15, inclusive",
     offer("; server_max_window_bits=7"), None),
    ("7692 §7.1.2.1", "a decimal integer value [...] between 8 to 15, inclusive",
     offer("; server_max_window_bits=16"), None),
    ("7692 §7.1.2.1", "a decimal integer value without leading zeroes",
     offer("; server_max_window_bits=010"), None),
    ("7692 §7.1.2.1", "a decimal integer value", offer("; server_max_window_bits"), None),
    ("7692 §7.1.2.1", "a decimal integer value", offer("; server_max_window_bits=+9"), None),
    ("7692 §7.1.2.2", "a decimal integer value [...] between 8 to 15, inclusive",
     offer("; client_max_window_bits=16"), None),
)  # fmt: skip
def test_declined(serve: Serve, row: Row) -> None:
    """Offers that are declined, which is no reason to refuse the handshake"""
    assert agreed(serve(CONTEXTS), row.sent) is row.back[0]


@table(
    ("7692 §7.1", "MUST decline [...] if any of the following conditions are met", offer(""), ""),
    ("7692 §7.1.1.1", "accepts an [...] offer [...] by including [it] in the [...] response",
     offer("; server_no_context_takeover"), "; server_no_context_takeover"),
    ("7692 §7.1.1.2", "By including [it], a server prevents the peer client from using context",
     offer("; client_no_context_takeover"), "; client_no_context_takeover"),
    ("7692 §7.1.2.1", "with the same or smaller value as the offer",
     offer("; server_max_window_bits=10"), "; server_max_window_bits=10"),
    ("7692 §7.1.2.1", "with the same or smaller value as the offer",
     offer("; server_max_window_bits=9"), "; server_max_window_bits=9"),
    ("7692 §7.1.2.1", "by including the [...] parameter in the [...] response",
     offer("; server_max_window_bits=15"), "; server_max_window_bits=15"),
    ("7692 §7.1.2.2", "with a value equal to or smaller than the received value",
     offer("; client_max_window_bits=8"), "; client_max_window_bits=8"),
    ("7692 §7.1.2.2", "This parameter has no value or a decimal integer value",
     offer("; client_max_window_bits"), ""),
    ("7692 §7.1.2.2", "the [...] response to the offer MUST NOT include [it]", offer(""), ""),
    ("6455 §9.1", 'extension-param = token [ "=" (token | quoted-string) ]',
     offer('; server_max_window_bits="10"'), "; server_max_window_bits=10"),
    ("7692 §5", "An element preceding another element has higher preference",
     offer("; server_max_window_bits=12, permessage-deflate; server_max_window_bits=10"),
     "; server_max_window_bits=12"),
    ("7692 §5", "the same algorithm with different configuration parameters",
     offer("; server_max_window_bits=8, permessage-deflate; server_max_window_bits=9"),
     "; server_max_window_bits=9"),
    ("6455 §9.1", "this header field MAY be split or combined across multiple lines",
     offer("; x=1", "; server_no_context_takeover"), "; server_no_context_takeover"),
)  # fmt: skip
def test_agreed(serve: Serve, row: Row) -> None:
    """What is agreed on, by a server that keeps contexts"""
    assert agreed(serve(CONTEXTS), row.sent) == row.back[0]


@table(
    ("7692 §7.1.1.1", "A server MAY include [it] even if the [...] offer [...] didn't", offer(""),
     "; server_no_context_takeover"),
    ("7692 §7.1.1.2", "a hint [...] isn't going to use context takeover",
     offer("; client_no_context_takeover"), NO_CONTEXTS),
)  # fmt: skip
def test_by_default(serve: Serve, row: Row) -> None:
    """What is agreed on by default: no context for messages to clients"""
    assert agreed(serve(DEFAULT), row.sent) == row.back[0]


@table(
    ("7692 §7.1.1.1", "A server MAY include [it] even if the [...] offer [...] didn't", offer(""),
     NO_CONTEXTS),
    ("7692 §7.1.1.2", "A server MAY include [it] in an extension negotiation response",
     offer("; client_max_window_bits"), NO_CONTEXTS),
)  # fmt: skip
def test_without_contexts(serve: Serve, row: Row) -> None:
    """What is agreed on, by a server that keeps none"""
    assert agreed(serve(NONE), row.sent) == row.back[0]


HELLO = bytes.fromhex("f2 48 cd c9 c9 07 00")
RSV1 = 4


@table(
    ("7692 §7.2.3.1", "A Message Compressed Using One Compressed DEFLATE Block",
     frame(1, HELLO, rsv=RSV1), "Hello"),
    ("7692 §7.2.3.1", "the endpoint might fragment the compressed message",
     frame(1, HELLO[:3], fin=False, rsv=RSV1) + frame(0, HELLO[3:]), "Hello"),
    ("7692 §7.2.3.2", "Sharing LZ77 Sliding Window",
     frame(1, HELLO, rsv=RSV1) + frame(1, bytes.fromhex("f2 00 11 00 00"), rsv=RSV1), "Hello",
     "Hello"),
    ("7692 §7.2.3.3", "Using a DEFLATE Block with No Compression",
     frame(1, bytes.fromhex("00 05 00 fa ff 48 65 6c 6c 6f 00"), rsv=RSV1), "Hello"),
    ("7692 §7.2.3.4", 'Using a DEFLATE Block with "BFINAL" Set to 1',
     frame(1, bytes.fromhex("f3 48 cd c9 c9 07 00 00"), rsv=RSV1), "Hello"),
    ("7692 §7.2.3.5", "Two DEFLATE Blocks in One Message",
     frame(1, bytes.fromhex("f2 48 05 00 00 00 ff ff ca c9 c9 07 00"), rsv=RSV1), "Hello"),
    ("7692 §7.2.3.6", "Generating an Empty Fragment", frame(1, b"\0", rsv=RSV1), ""),
    ("7692 §6", "this bit indicates whether a message is compressed or not", frame(1, b"Hello"),
     "Hello"),
    ("7692 §6.1", 'MUST NOT set the "Per-Message Compressed" bit of [...] non-first fragments',
     frame(1, HELLO[:3], fin=False, rsv=RSV1) + frame(0, HELLO[3:], rsv=RSV1), "close 1002"),
    ("7692 §6.1", 'MUST NOT set the "Per-Message Compressed" bit of control frames',
     frame(9, HELLO, rsv=RSV1), "close 1002"),
    ("6455 §5.2", "RSV1, RSV2, RSV3: MUST be 0 unless an extension is negotiated",
     frame(1, HELLO, rsv=2), "close 1002"),
    ("7692 §7.2.2", "Decompress the resultant data using DEFLATE",
     frame(1, b"\xff\xff\xff", rsv=RSV1), "close 1007"),
)  # fmt: skip
def test_messages(serve: Serve, row: Row) -> None:
    """The RFC's examples are echoed, what isn't allowed fails"""
    with connect(serve(CONTEXTS).port, "/", "Sec-WebSocket-Extensions: permessage-deflate") as peer:
        peer.sock.sendall(row.sent)
        for expected in row.back:
            found = peer.recv()
            assert (f"close {found[0]}" if isinstance(found, tuple) else found) == expected

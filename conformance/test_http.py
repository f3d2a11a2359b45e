"""RFC 9110 and 9112, other input on a WebSocket's port: plain and malformed HTTP requests."""

from __future__ import annotations

from conformance.server import Serve
from conformance.wire import Row, table
from tests.support.heads import head, plain
from tests.support.rawclient import RawClient

HOST = "Host: server.example.com"
TLS_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


def answer(peer: RawClient, sent: bytes) -> tuple[dict[str, str], bytes]:
    """Send a request; return the fields of the response, and what comes until TCP ends."""
    peer.sock.sendall(sent)
    peer.handshake(b"")
    lines = peer.response.split("\r\n")[1:]
    fields = dict(line.lower().split(": ", 1) for line in lines if line)
    body = b""
    try:
        while True:
            body += peer.read(1)
    except EOFError:
        return fields, body


@table(
    ("9110 §15.5.22", "The server MUST send an Upgrade header field in a 426 response",
     plain("GET / HTTP/1.1", HOST), 426, "Upgrade: websocket"),
    ("9110 §7.8", 'A sender of Upgrade MUST also send an "Upgrade" connection option',
     plain("GET / HTTP/1.1", HOST), 426, "Connection: close, Upgrade"),
    ("6455 §4.4", "a |Sec-WebSocket-Version| header field [...] indicating versions it can use",
     plain("GET / HTTP/1.1", HOST), 426, "Sec-WebSocket-Version: 13"),
    ("9110 §9.3.2", "the server MUST NOT send content in the response",
     plain("HEAD / HTTP/1.1", HOST), 426),
    ("9110 §15.5.6", "MUST generate an Allow header field in a 405 response",
     plain("POST / HTTP/1.1", HOST, "Content-Length: 0"), 405, "Allow: GET, HEAD"),
    ("9110 §15.5.6", "MUST generate an Allow header field in a 405 response",
     head("PUT /chat HTTP/1.1"), 405, "Allow: GET"),
    ("9110 §9.1", "The method token is case-sensitive", plain("get / HTTP/1.1", HOST), 405,
     "Allow: GET, HEAD"),
    ("9112 §3.2.2", "A server MUST accept the absolute-form in requests",
     plain("GET http://server.example.com/ HTTP/1.1", HOST), 426),
    ("9112 §2.3", "HTTP/1.0 [...] the highest minor version it can handle", plain("GET / HTTP/1.0"),
     426),
    ("9110 §15.6.6", "the server does not support [...] the major version of HTTP",
     plain("GET / HTTP/2.0", HOST), 505),
    ("9113 §3.4", "the connection preface [...] PRI * HTTP/2.0",
     b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("9112 §2.2", "SHOULD ignore at least one empty line (CRLF) received prior to the request-line",
     b"\r\n" + plain("GET / HTTP/1.1", HOST), 426),
    ("9112 §9.6", 'A server that does not support persistent connections MUST send "close"',
     plain("GET / HTTP/1.1", HOST, "Connection: keep-alive"), 426, "Connection: close, Upgrade"),
)  # fmt: skip
def test_plain_requests(serve: Serve, row: Row) -> None:
    """Requests that ask for no WebSocket are told what would do"""
    with RawClient(serve("").port) as peer:
        fields, body = answer(peer, row.sent)
    assert peer.status == row.back[0]
    for line in row.back[1:]:
        name, value = line.lower().split(": ", 1)
        assert fields[name] == value
    assert len(body) == (0 if row.sent.startswith(b"HEAD") else int(fields["content-length"]))


@table(
    ("9112 §3.2", "MUST respond with a 400 [...] that lacks a Host header field",
     plain("GET / HTTP/1.1"), 400),
    ("9112 §3.2", "or with more than one Host header field line",
     plain("GET / HTTP/1.1", HOST, HOST), 400),
    ("9112 §3.2", "or a Host header field with an invalid field value",
     plain("GET / HTTP/1.1", "Host: a b"), 400),
    ("9112 §5.1", "MUST reject [...] whitespace between a header field name and colon",
     plain("GET / HTTP/1.1", HOST, "X : y"), 400),
    ("9112 §5.2", "an obs-fold in a request [...] MUST either reject the message by sending a 400",
     plain("GET / HTTP/1.1", HOST, "X: y", " z"), 400),
    ("9112 §2.2", "A recipient of such a bare CR MUST consider that element to be invalid",
     plain("GET / HTTP/1.1", HOST, "X: y\rZ: z"), 400),
    ("9110 §5.5", "a recipient of CR, LF, or NUL [...] MUST either reject the message",
     plain("GET / HTTP/1.1", HOST, "X: y\0"), 400),
    ("9110 §5.5", "Field values containing other CTL characters are also invalid",
     plain("GET / HTTP/1.1", HOST, "X: \x1b[2J"), 400),
    ("9112 §2.2", "a recipient MAY recognize a single LF as a line terminator: this one doesn't",
     plain("GET / HTTP/1.1", HOST).replace(b"\r", b""), 400),
    ("9112 §3.2.4", "asterisk-form [...] is only used for a server-wide OPTIONS request",
     head("GET * HTTP/1.1"), 400),
    ("9110 §7.2", 'Host = uri-host [ ":" port ]', head(Host="a:80:80"), 400),
    ("9112 §2.2", "whitespace between the start-line and the first header [...] MUST either reject",
     plain("GET / HTTP/1.1", " X: y", HOST), 400),
    ("9112 §3", "SHOULD respond with either a 400 (Bad Request) error",
     plain("GET /a b HTTP/1.1", HOST), 400),
    ("9112 §3", "SHOULD respond with either a 400 (Bad Request) error", b"\x00\xff\r\n\r\n", 400),
    ("9112 §3", "a request-target longer than any URI it wishes to parse MUST [get] a 414",
     plain(f"GET /{'x' * 9000} HTTP/1.1", HOST), 414),
    ("9110 §5.4", "larger than it wishes to process MUST respond with an appropriate 4xx",
     plain("GET / HTTP/1.1", HOST, f"X: {'x' * 17000}"), 431),
    ("6585 §5", "too large, in [the] totality of request header fields",
     plain("GET / HTTP/1.1", HOST, *["X: y"] * 101), 431),
    ("8446 §5.1", "a client that speaks TLS to a port that doesn't", TLS_HELLO, 400),
    ("9112 §6.1", "a body where no body may be: a smuggled request",
     head("GET /chat HTTP/1.1", "Transfer-Encoding: chunked"), 400),
    ("9112 §6.1", "a body where no body may be: a smuggled request",
     head("GET /chat HTTP/1.1", "Content-Length: 5"), 400),
)  # fmt: skip
def test_malformed(serve: Serve, row: Row) -> None:
    """What is malformed or too much is refused, and TCP is closed"""
    with RawClient(serve("").port) as peer:
        fields, body = answer(peer, row.sent)
    assert peer.status == row.back[0]
    assert fields["connection"] == "close"
    assert len(body) == int(fields["content-length"])

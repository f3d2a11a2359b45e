"""RFC 6455 §4, the opening handshake: every MUST of it, and what is odd but legal.

`head()` is the example of §1.2; its arguments are what a row changes in it.
"""

from __future__ import annotations

from conformance.server import Serve
from conformance.wire import Row, table
from tests.support.frames import frame
from tests.support.heads import ACCEPT, EXAMPLE, GET, head
from tests.support.rawclient import RawClient

SERVER = """--set subprotocols=["chat.v2","chat.v1"] origins=["https://example.org"]"""


def shaken(serve: Serve, sent: bytes, pieces: int) -> RawClient:
    """Send a handshake in pieces of this many bytes, and read the response."""
    peer = RawClient(serve(SERVER).port)
    for start in range(0, len(sent), pieces):
        peer.sock.sendall(sent[start : start + pieces])
    peer.handshake(b"")
    return peer


def assert_fields(response: str, expected: tuple[str, ...]) -> None:
    """Check each: a line of the response, or "no " and the name of a field that it lacks."""
    lines = response.split("\r\n")
    names = [line.partition(":")[0].lower() for line in lines]
    for line in expected:
        if line.startswith("no "):
            assert line[3:].lower() not in names
        else:
            assert line in lines
            assert names.count(line.partition(":")[0].lower()) == 1


@table(
    ("6455 §4.2.2", "it MUST reply with a valid HTTP response", head(), 101,
     "HTTP/1.1 101 Switching Protocols"),
    ("6455 §4.2.2", 'An |Upgrade| header field with value "websocket"', head(), 101,
     "Upgrade: websocket"),
    ("6455 §4.2.2", 'A |Connection| header field with value "Upgrade"', head(), 101,
     "Connection: Upgrade"),
    ("6455 §4.2.2", "taking the SHA-1 hash of this concatenated value", head(), 101, ACCEPT),
    ("6455 §4.2.1", "the order of the header fields is not important",
     "\r\n".join([GET, *sorted(f"{n}: {v}" for n, v in EXAMPLE.items()), "", ""]).encode(), 101),
    ("6455 §4.1", "all header field names [...] are case-insensitive",
     head().replace(b"Sec-WebSocket-Key", b"SEC-WEBSOCKET-KEY"), 101, ACCEPT),
    ("6455 §4.2.1", "(or an absolute HTTP/HTTPS URI containing the /resource name/)",
     head("GET http://server.example.com/chat HTTP/1.1"), 101),
    ("6455 §4.2.1", "(or an absolute HTTP/HTTPS URI containing the /resource name/)",
     head("GET https://server.example.com/chat?a=b HTTP/1.1"), 101),
    ("6455 §3", '"/" if the path component is empty', head("GET / HTTP/1.1"), 101),
    ("6455 §4.1", 'plus optionally ":" followed by /port/', head(Host="[::1]:8000"), 101),
    ("6455 §4.2.1", '"websocket", treated as an ASCII case-insensitive value',
     head(Upgrade="WebSocket"), 101),
    ("6455 §4.1", 'whose value MUST include the "websocket" keyword',
     head(Upgrade="h2c, websocket"), 101),
    ("6455 §4.2.1", 'the token "Upgrade", treated as an ASCII case-insensitive value',
     head(Connection="uPGRADE"), 101),
    ("6455 §4.1", 'whose value MUST include the "Upgrade" token',
     head(Connection="keep-alive, Upgrade"), 101),
    ("6455 §4.1", 'whose value MUST include the "Upgrade" token',
     head(GET, "Connection: Upgrade", Connection="keep-alive"), 101),
    ("6455 §4.1", 'the value of the header field would be "AQIDBAUGBwgJCgsMDQ4PEC=="',
     head(Sec_WebSocket_Key="AQIDBAUGBwgJCgsMDQ4PEC=="), 101,
     "Sec-WebSocket-Accept: OfS0wDaT5NoxF2gqm7Zj2YtetzM="),
    ("6455 §4.2.1", "Optionally, other header fields, such as those used to send cookies",
     head(GET, "Cookie: a=b", "Authorization: Basic YTpi", "Sec-WebSocket-X: y"), 101),
    ("9112 §5", "optional leading whitespace, the field line value, and optional trailing",
     head().replace(b": websocket", b":websocket \t"), 101),
)  # fmt: skip
def test_accepted(serve: Serve, row: Row) -> None:
    """Accepted, in one piece and byte by byte"""
    for pieces in (len(row.sent), 1):
        with shaken(serve, row.sent, pieces) as peer:
            assert peer.status == row.back[0]
            assert_fields(peer.response, row.back[1:])
            peer.sock.sendall(frame(1, b"Hello"))
            assert peer.recv() == "Hello"


@table(
    ("6455 §4.2.1", "An HTTP/1.1 or higher GET request", head("GET /chat HTTP/1.0"), 426),
    ("9110 §7.8", "MUST ignore an Upgrade header field that is received in an HTTP/1.0 request",
     head("GET /chat HTTP/1.0"), 426),
    ("6455 §4.1", "The method of the request MUST be GET", head("POST /chat HTTP/1.1"), 405),
    ("6455 §4.1", "The handshake MUST be a valid HTTP request", head("GET /chat"), 400),
    ("6455 §3", "Fragment identifiers [...] MUST NOT be used on these URIs",
     head("GET /chat#top HTTP/1.1"), 400),
    ("6455 §4.1", "be an absolute http/https URI", head("GET ftp://example.com/ HTTP/1.1"), 400),
    ("6455 §4.1", "The request MUST contain a |Host| header field", head(Host=None), 400),
    ("6455 §4.1", "whose value contains /host/", head(Host=""), 400),
    ("6455 §4.1", "The request MUST contain an |Upgrade| header field", head(Upgrade=None), 426),
    ("6455 §4.1", 'whose value MUST include the "websocket" keyword', head(Upgrade="h2c"), 426),
    ("6455 §4.1", "The request MUST contain a |Connection| header field", head(Connection=None),
     400),
    ("6455 §4.1", 'whose value MUST include the "Upgrade" token', head(Connection="keep-alive"),
     400),
    ("6455 §4.1", "The request MUST include [...] |Sec-WebSocket-Key|",
     head(Sec_WebSocket_Key=None), 400),
    ("6455 §4.1", "The value of this header field MUST be a nonce", head(Sec_WebSocket_Key=""),
     400),
    ("6455 §4.2.1", "with a base64-encoded [...] value",
     head(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ!="), 400),
    ("6455 §4.3", 'base64-padding = (2base64-character "==")',
     head(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ"), 400),
    ("6455 §4.2.1", "that, when decoded, is 16 bytes in length",
     head(Sec_WebSocket_Key="YWFhYWFhYWFhYWFhYWFh"), 400),
    ("6455 §4.2.1", "that, when decoded, is 16 bytes in length",
     head(Sec_WebSocket_Key="YWFhYWFhYWFhYWFhYWFhYWE="), 400),
    ("6455 §11.3.1", "|Sec-WebSocket-Key| [...] MUST NOT appear more than once",
     head(GET, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400),
    ("6455 §4.1", "The request MUST include [...] |Sec-WebSocket-Version|",
     head(Sec_WebSocket_Version=None), 426, "Sec-WebSocket-Version: 13"),
    ("6455 §4.1", "The value of this header field MUST be 13", head(Sec_WebSocket_Version="12"),
     426, "Sec-WebSocket-Version: 13"),
    ("6455 §4.2.2", "a |Sec-WebSocket-Version| header field indicating the version(s)",
     head(Sec_WebSocket_Version="25"), 426, "Sec-WebSocket-Version: 13"),
    ("6455 §4.3", "Limited to 0-255 range, with no leading zeros",
     head(Sec_WebSocket_Version="013"), 426, "Sec-WebSocket-Version: 13"),
    ("6455 §11.3.5", "|Sec-WebSocket-Version| [...] MUST NOT appear more than once",
     head(GET, "Sec-WebSocket-Version: 13"), 400),
    ("6455 §4.1", "MUST be non-empty strings [...] not including separator characters",
     head(Sec_WebSocket_Protocol="chat.v1, a b"), 400),
    ("6455 §4.1", "with characters in the range U+0021 to U+007E",
     head(Sec_WebSocket_Protocol="caf\xe9"), 400),
    ("6455 §4.3", "extension-token = registered-token", head(Sec_WebSocket_Extensions="a b"), 400),
    ("6455 §4.3", "the value after quoted-string unescaping MUST conform to the 'token' ABNF",
     head(Sec_WebSocket_Extensions='x; a="b c"'), 400),
    ("6455 §4.2.2", "it MUST return an appropriate HTTP error code (e.g., 403 Forbidden)",
     head(Origin="https://evil.example"), 403),
    ("6455 §10.2", "Servers [...] SHOULD verify the |Origin| field", head(Origin="null"), 403),
)  # fmt: skip
def test_refused(serve: Serve, row: Row) -> None:
    """Refused with an error code, and TCP is closed"""
    with shaken(serve, row.sent, len(row.sent)) as peer:
        assert peer.status == row.back[0]
        assert_fields(peer.response, (*row.back[1:], "no Sec-WebSocket-Accept"))
        length = next(
            int(line.split(":")[1])
            for line in peer.response.split("\r\n")
            if line.startswith("Content-Length:")
        )
        assert len(peer.read(length)) == length
        assert peer.at_eof()


@table(
    ("6455 §4.2.2", "selecting one of the values from the |Sec-WebSocket-Protocol| field",
     head(Sec_WebSocket_Protocol="chat.v1"), 101, "Sec-WebSocket-Protocol: chat.v1"),
    ("6455 §4.2.2", "that the server is willing to use for this connection",
     head(Sec_WebSocket_Protocol="chat.v1, chat.v2"), 101, "Sec-WebSocket-Protocol: chat.v2"),
    ("6455 §4.2.2", "it MUST NOT send back a |Sec-WebSocket-Protocol| header field",
     head(Sec_WebSocket_Protocol="chat.v3"), 101, "no Sec-WebSocket-Protocol"),
    ("6455 §4.2.2", "If [...] did not contain such a header field [...] null", head(), 101,
     "no Sec-WebSocket-Protocol"),
    ("6455 §11.3.4", "|Sec-WebSocket-Protocol| [...] MAY appear multiple times in an HTTP request",
     head(GET, "Sec-WebSocket-Protocol: chat.v1", Sec_WebSocket_Protocol="chat.v3"), 101,
     "Sec-WebSocket-Protocol: chat.v1"),
    ("6455 §4.2.2", "selecting one of the values from the |Sec-WebSocket-Protocol| field",
     head(Sec_WebSocket_Protocol="CHAT.V1"), 101, "no Sec-WebSocket-Protocol"),
    ("6455 §4.2.2", "Extensions not listed by the client MUST NOT be listed", head(), 101,
     "no Sec-WebSocket-Extensions"),
    ("6455 §9", "A server MUST NOT respond with any extension not requested by the client",
     head(Sec_WebSocket_Extensions="x-unknown; a=1"), 101, "no Sec-WebSocket-Extensions"),
    ("6455 §4.2.1", "lacking this header field SHOULD NOT be interpreted as [...] a browser",
     head(Origin=None), 101),
    ("6455 §4.2.2", "The server MAY use this information", head(Origin="https://example.org"), 101),
    ("6455 §10.2", "Servers [...] SHOULD verify the |Origin| field",
     head(Origin="http://server.example.com"), 101),
)  # fmt: skip
def test_chosen(serve: Serve, row: Row) -> None:
    """Subprotocol, extensions and origin"""
    with shaken(serve, row.sent, len(row.sent)) as peer:
        assert peer.status == row.back[0]
        assert_fields(peer.response, row.back[1:])

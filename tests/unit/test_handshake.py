"""RFC 6455 §4.2 as tables: a request head in, a request or the status of a refusal out.

Each row is named after its clause: "4.2.1" is a section of RFC 6455, "9112-3" one of RFC 9112.
"""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.heads import EXAMPLE, GET, head
from tests.support.tables import table
from ws import basic_auth, handshake
from ws.handshake import HandshakeError, Head, Headers, Request, Response

HOST = EXAMPLE["Host"]


def parse(data: bytes) -> Request:
    complete = Head(10_000).feed(data)
    assert complete is not None
    request, rest = complete
    assert rest == b""
    return request


def refusal(data: bytes, origins: tuple[str, ...] = ()) -> Response | None:
    """What a handshake is refused with, None if it is accepted."""
    try:
        handshake.check_upgrade(parse(data), origins)
    except HandshakeError as error:
        return error.response
    return None


# The request head


@table(
    "data, status",
    ("9112-2.2 MUST refuse a bare CR", head(X="a\rb"), 400),
    ("9112-2.2 nor is a bare LF the end of a line", head(X="a\nY: b"), 400),
    ("9110-5.5 MUST refuse NUL", head(X="a\0b"), 400),
    ("9112-3 three parts, not two", head("GET /chat"), 400),
    ("9112-3 nor four", head("GET /chat HTTP/1.1 "), 400),
    ("9112-3 a single space between them", head("GET  HTTP/1.1"), 400),
    ("9112-3 nothing in front", head(" /chat HTTP/1.1"), 400),
    ("9112-3.1 method = token", head("G(E)T /chat HTTP/1.1"), 400),
    ("9112-3.2 a target is ASCII", head("GET /\xe9 HTTP/1.1"), 400),
    ("9112-3.2 without control characters", head("GET /\x7f HTTP/1.1"), 400),
    ("9112-3.2 a URI", head("GET http://[/ HTTP/1.1"), 400),
    ("9112-3.2 that starts with / or http", head("GET chat HTTP/1.1"), 400),
    ("3. fragments MUST NOT be used", head("GET /chat#x HTTP/1.1"), 400),
    ("9112-2.3 HTTP in capitals", head("GET /chat http/1.1"), 400),
    ("9112-2.3 HTTP in full", head("GET /chat HTTQ/2.0"), 400),
    ("9112-2.3 DIGIT . DIGIT", head("GET /chat HTTP/2"), 400),
    ("9112-2.3 no more digits", head("GET /chat HTTP/1.10"), 400),
    ("9112-2.3 no letters", head("GET /chat HTTP/x.y"), 400),
    ("1945-3.1 HTTP/0.9 never says so", head("GET /chat HTTP/0.9"), 400),
    ("9110-15.6.6 another major version", head("GET /chat HTTP/2.0"), 505),
    ("9113-3.4 the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("9112-5 a field has a colon", head(GET, "X"), 400),
    ("9112-5 and a name", head(GET, ": x"), 400),
    ("9110-5.1 field-name = token", head(GET, "\xe9: x"), 400),
    ("9112-5.1 MUST refuse whitespace before the colon", head(GET, "X : x"), 400),
    ("9112-5.2 MUST refuse obs-fold", head(GET, "X: x", " folded: x"), 400),
    ("9112-3.2 MUST refuse a lack of Host", head(Host=None), 400),
    ("9112-3.2 an empty Host", head(Host=""), 400),
    ("9112-3.2 MUST refuse a malformed Host", head(Host="a b"), 400),
    ("9112-3.2 also one with a path", head(Host="a/b"), 400),
    ("9112-3.2 MUST refuse more than one Host", head(host="x"), 400),
    ("9112-3.2 or whose port is none", head(Host="a:b"), 400),
    ("9112-3.2.2 a target of another host", head("GET http://evil/ HTTP/1.1"), 400),
    ("9112-3.2.2 with a user in front", head("GET http://x@server.example.com/ HTTP/1.1"), 400),
    ("9112-3.2.3 authority-form, for tunnels", head("CONNECT server.example.com:80 HTTP/1.1"), 400),
    (
        "9112-6.3 more than one Content-Length",
        head(**{"content-length": "0"}, Content_Length="0"),
        400,
    ),
    ("7617-2 more than one Authorization", head(authorization="x", Authorization="x"), 400),
    ("6454-7.3 more than one Origin", head(origin="http://x", Origin="http://x"), 400),
    ("11.3.1 Key MUST NOT appear more than once", head(GET, "Sec-WebSocket-Key: x"), 400),
    ("11.3.5 nor Version", head(GET, "Sec-WebSocket-Version: 13"), 400),
    ("9110-4.1 over 8192 bytes of target", head(f"GET /{'x' * 8192} HTTP/1.1"), 414),
    ("6585-5 over 100 fields", head(GET, *["X: x"] * 96), 431),
    ("8446-5.1 a browser that speaks TLS", b"\x16\x03\x01\x02\x00\x01", 400),
)
def test_malformed_head(data, status):
    with pytest.raises(HandshakeError) as caught:
        Head(10_000).feed(data)
    assert caught.value.response.status == status


@table(
    "data, name, value",
    ("9110-5.1 a name has no case", head(Host=None, hOST="x"), "Host", "x"),
    ("9112-5.1 whitespace around a value is not part of it", head(X=" \tx \t"), "x", "x"),
    ("9112-5.1 nor must there be any", head(GET, "X:x"), "x", "x"),
    ("9110-5.5 an empty value, a colon, obs-text", head(X="", Y=":\xe9"), "y", ":\xe9"),
    ("9110-5.3 repeated fields are a list, in order", head(X="a", x="b, c"), "x", "a, b, c"),
    ("9113-8.2.3 but cookies by semicolons", head(Cookie="a", cookie="b"), "cookie", "a; b"),
    ("9110-4.1 8192 bytes of target", head(f"GET /{'x' * 8191} HTTP/1.1", X="x"), "x", "x"),
    ("6585-5 100 fields", head(GET, *["X: x"] * 95), "x", ", ".join("x" * 95)),
    ("9112-3.2 HTTP/1.0 without Host", head("GET / HTTP/1.0", Host=None), "upgrade", "websocket"),
    ("9112-2.2 empty lines before it", b"\r\n\r\n" + head(X="a"), "x", "a"),
)
def test_field(data, name, value):
    assert parse(data).headers[name] == value


@table(
    "method, target, path, query",
    ("9112-3.2.1 origin-form", "GET", "/~a!", "/~a!", {}),
    ("9112-3.2.1 that looks like a host", "GET", "//g/chat?b=c", "//g/chat", {"b": "c"}),
    ("9112-3.2.2 MUST accept absolute-form", "GET", f"http://{HOST}/a?b=c", "/a", {"b": "c"}),
    ("9110-4.2.3 where neither has a case", "GET", f"HTTPS://{HOST.upper()}/A", "/A", {}),
    ("9112-3.2.1 an empty path is /", "GET", f"http://{HOST}?b", "/", {"b": ""}),
    ("9112-3.2.4 asterisk-form", "OPTIONS", "*", "*", {}),
    ("3986-2.1 percent-encoded", "GET", "/%C3%A9%3F?%20=%26", "/é?", {" ": "&"}),
    ("the last of a repeated parameter", "HEAD", "/?a=1&a=&b", "/", {"a": "", "b": ""}),
)
def test_request(method, target, path, query):
    request = parse(head(f"{method} {target} HTTP/1.1"))
    assert (request.method, request.target, request.version) == (method, target, "HTTP/1.1")
    assert (request.path, request.query) == (path, query)
    assert repr(request) == f"<Request {method} {target}>"
    assert (request.secure, request.address, request.user) == (False, None, None)
    assert request.data == {}


@table(
    "value, cookies",
    ("6265-5.4 none", None, {}),
    ("6265-4.2.1 pairs", "SID=31d4d96e; lang=en-US", {"SID": "31d4d96e", "lang": "en-US"}),
    ("6265-4.1.1 quotes", 'a="b"', {"a": "b"}),
    ("6265-5.2 the first = and whitespace", " a = b=c ;d=", {"a": "b=c", "d": ""}),
    ("6265-5.2 no =, no cookie", "a; b=1;", {"b": "1"}),
)
def test_cookies(value, cookies):
    assert parse(head(Cookie=value)).cookies == cookies


def test_headers_are_a_mapping():
    headers = Headers()
    headers.add("Accept", "a, ,B")
    headers.add("HOST", "h")
    assert dict(headers) == {"accept": "a, ,B", "host": "h"}
    assert len(headers) == 2
    assert "hosT" in headers
    assert "cookie" not in headers
    assert headers.tokens("accept") == ["a", "B"]
    assert headers.tokens("cookie") == []
    assert headers.has_token("accept", "b")
    assert not headers.has_token("accept", "c")


@table(
    "data, status",
    ("a head over the limit", f"GET / HTTP/1.1\r\nHost: h\r\nX: {'x' * 13}\r\n\r\n", 431),
    ("no need to wait for its end", f"GET / HTTP/1.1\r\nX: {'x' * 28}", 431),
    ("a request line over the limit", f"GET /{'x' * 27} HTTP/1.1\r\nHost: h\r\n\r\n", 414),
    ("no need to wait for its end", "x" * 44, 414),
)
def test_more_than_40_bytes(data, status):
    with pytest.raises(HandshakeError) as caught:
        Head(40).feed(data.encode())
    assert caught.value.response.status == status


@pytest.mark.parametrize("rest", [b"", b"x" * 100])
def test_40_bytes_and_an_empty_line_and_what_comes_behind(rest):
    start = f"GET / HTTP/1.1\r\nHost: h\r\nX: {'x' * 12}".encode()
    assert len(start) == 40
    head = Head(40)
    for part in (b"", start, b"\r", b"\n", b"\r"):
        assert head.feed(part) is None
    assert head.feed(b"\n" + rest)[1] == rest


# The handshake


@table(
    "value, upgrade",
    ("4.2.1 3. an ASCII case-insensitive value", "WebSocket", True),
    ("9110-7.8 in a list", "h2c , websocket", True),
    ("no such field", None, False),
    ("another protocol", "h2c", False),
    ("part of a token", "websockets", False),
)
def test_is_upgrade(value, upgrade):
    assert parse(head(Upgrade=value)).is_upgrade is upgrade
    assert not parse(head("GET /chat HTTP/1.0", Upgrade=value)).is_upgrade, "9110-7.8: ignored"


@table(
    "data",
    ("4.2.1 4. Connection: the token Upgrade", head(Connection="Upgrade")),
    ("4.2.1 4. an ASCII case-insensitive value", head(Connection="uPGRADE")),
    ("4.2.1 4. in a list, as Firefox does", head(Connection="keep-alive, Upgrade")),
    ("9110-5.6.1 among empty members", head(Connection=",, ,\tupgrade\t,")),
    ("9110-5.3 repeated", head(GET, "Connection: upgrade", Connection="keep-alive")),
    ("4.2.1 8. subprotocols", head(Sec_WebSocket_Protocol="chat, superchat")),
    ("4.2.1 9. extensions", head(Sec_WebSocket_Extensions="permessage-deflate; x=1")),
    ("4.2.1 10. unknown fields MUST be ignored", head(Sec_WebSocket_X="y")),
    ("9110-8.6 a body of no bytes", head(Content_Length="0")),
)
def test_accepted(data):
    assert refusal(data) is None


@table(
    "data, status",
    ("4.2.1 1. GET", head("POST /chat HTTP/1.1"), 405),
    ("9110-9.1 a method has a case", head("get /chat HTTP/1.1"), 405),
    ("4.2.1 4. no Connection", head(Connection=None), 400),
    ("4.2.1 4. no Upgrade in it", head(Connection="keep-alive"), 400),
    ("4.2.1 4. just as part of a token", head(Connection="upgrades"), 400),
    ("4.2.1 5. no Key", head(Sec_WebSocket_Key=None), 400),
    ("4.2.1 5. a Key that isn't base64", head(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ!=="), 400),
    ("4.2.1 5. not even ASCII", head(Sec_WebSocket_Key="\xe9GhlIHNhbXBsZSBub25jZQ=="), 400),
    ("4.2.1 5. without its padding", head(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ"), 400),
    ("4.2.1 5. of 15 bytes", head(Sec_WebSocket_Key="YWFhYWFhYWFhYWFhYWFh"), 400),
    ("4.2.1 5. of 17 bytes", head(Sec_WebSocket_Key="YWFhYWFhYWFhYWFhYWFhYWE="), 400),
    ("4.2.1 6. no Version", head(Sec_WebSocket_Version=None), 426),
    ("4.4 another Version", head(Sec_WebSocket_Version="8"), 426),
    ("4.1 9. the value MUST be 13", head(Sec_WebSocket_Version="13, 8"), 426),
    ("4.1 10. subprotocols MUST be tokens", head(Sec_WebSocket_Protocol="chat, a b"), 400),
    ("4.1 10. in US-ASCII", head(Sec_WebSocket_Protocol="\xe9"), 400),
    ("9110-9.3.1 a body", head(Content_Length="5"), 400),
    ("9110-9.3.1 a body in chunks", head(Transfer_Encoding="chunked"), 400),
    ("4.2.2 4. an origin that is not accepted", head(Origin="http://evil.example"), 403),
)
def test_refused(data, status):
    response = refusal(data)
    assert response.status == status
    assert response.encode().startswith(f"HTTP/1.1 {status} ".encode())


OTHER = "https://example.org"


@table(
    "origin, host, origins, allowed",
    ("4.2.1 7. none: no browser", None, "h", (), True),
    ("10.2 a page of this host", "http://h", "h", (), True),
    ("over TLS", "https://h", "h", (), True),
    ("of this host and port", "http://[::1]:8000", "[::1]:8000", (), True),
    ("4343 names have no case", "HTTP://Example.COM", "eXample.com", (), True),
    ("9110-4.2.1 the port of http is 80", "http://h", "h:80", (), True),
    ("9110-4.2.1 said by the page", "http://h:80", "h", (), True),
    ("9110-4.2.2 the port of https is 443", "https://h", "h:443", (), True),
    ("9110-4.2.2 said by the page", "https://h:443", "h", (), True),
    ("10.2 no other port", "http://h:8000", "h:8001", (), False),
    ("not the port of another scheme", "http://h", "h:443", (), False),
    ("10.2 no other host", "http://g", "h", (), False),
    ("no subdomain", "http://www.h", "h", (), False),
    ("no parent domain", "http://h", "www.h", (), False),
    ("nothing that starts alike", "http://h.evil", "h", (), False),
    ("no user, no path", "http://h@evil/h", "h", (), False),
    ("a scheme without a port", "app://g", "h", (), False),
    ("6454-7.1 null is no host", "null", "null", (), False),
    ("unless listed", "null", "h", ("null",), True),
    ("nor is nothing", "", "h", (), False),
    ("a listed one", OTHER, "h", ("http://a", OTHER), True),
    ("this host still", "http://h", "h", (OTHER,), True),
    ("listed with another scheme", "http://example.org", "h", (OTHER,), False),
    ("without its port", OTHER + ":8443", "h", (OTHER,), False),
    ("with another end", OTHER + ".evil", "h", (OTHER,), False),
    ("with more", "https://example.or", "h", (OTHER,), False),
    ("* is any", "http://g", "h", ("*",), True),
    ("even null", "null", "h", (OTHER, "*"), True),
)
def test_origin(origin, host, origins, allowed):
    response = refusal(head(Origin=origin, Host=host), origins)
    assert response is None if allowed else response.status == 403


@table(
    "host, hosts, allowed",
    ("as listed", "a.example", ["b.example", "a.example"], True),
    ("4343 names have no case", "A.eXample", ["a.Example"], True),
    ("1034-3.1 nor a final dot", "a.example.", ["a.example"], True),
    ("in either place", "a.example", ["a.example."], True),
    ("another name", "b.example", ["a.example"], False),
    ("another end", "a.example.evil", ["a.example"], False),
    ("another start", "evila.example", ["a.example"], False),
    ("no subdomain", "b.a.example", ["a.example"], False),
    ("none is listed", "a.example", [], False),
    ("any port, unless one is listed", "a.example:8000", ["a.example"], True),
    ("the listed port", "a.example:8000", ["a.example:8000"], True),
    ("another port", "a.example:8001", ["a.example:8000"], False),
    ("no port is that of http", "a.example", ["a.example:8000"], False),
    ("9110-4.2.1 which is 80", "a.example", ["a.example:80"], True),
    ("3986-3.2.3 an empty port, too", "a.example:", ["a.example:80"], True),
    ("* is one name or more", "c.b.example", ["*.b.example"], True),
    ("and more", "d.c.b.example:1", ["*.b.example"], True),
    ("but not none", "b.example", ["*.b.example"], False),
    ("nor part of one", "cb.example", ["*.b.example"], False),
    ("with a port", "c.b.example:2", ["*.b.example:2"], True),
    ("with another", "c.b.example:1", ["*.b.example:2"], False),
    ("IPv4", "127.0.0.1:80", ["127.0.0.1"], True),
    ("another address", "127.0.0.1.evil", ["127.0.0.1"], False),
    ("IPv6", "[::1]", ["[::1]"], True),
    ("with any port", "[::1]:8000", ["[::1]"], True),
    ("with its port", "[::1]:8000", ["[::1]:8000"], True),
    ("with another port", "[::1]:8001", ["[::1]:8000"], False),
    ("listed without brackets", "[::1]:80", ["::1"], True),
    ("which a request must have", "::1", ["::1"], False),
    ("9112-3.2 HTTP/1.0 without Host", None, ["a.example"], False),
)
def test_host(host, hosts, allowed):
    request = parse(head("GET /chat HTTP/1.0", Host=host))
    hosts = handshake.parse_hosts(hosts)
    if allowed:
        handshake.check_host(request, hosts)
    else:
        with pytest.raises(HandshakeError, match="is not served here") as caught:
            handshake.check_host(request, hosts)
        assert caught.value.response.status == 421


@pytest.mark.parametrize("host, allowed", [("h", True), ("h:443", True), ("h:80", False)])
def test_the_default_port_over_tls(host, allowed):
    request = parse(head(Host=host))
    request.secure = True
    try:
        handshake.check_host(request, [("h", "443")])
    except HandshakeError:
        assert not allowed
    else:
        assert allowed


@pytest.mark.parametrize(
    "host", ["", "*", "*.", "*a.example", "a.*", "http://a", "a/b", "a b", "é", ":80", "a:b", "u@a"]
)
def test_hosts_that_can_be_none(host):
    with pytest.raises(ValueError, match=f"^hosts= takes names.*, not {re.escape(repr(host))}$"):
        handshake.parse_hosts([host])


@table(
    "method, field, value",
    ("4.4 MUST send the version it speaks", "GET", "Sec-WebSocket-Version", "13"),
    ("9110-15.5.22 426 MUST send Upgrade", "HEAD", "Upgrade", "websocket"),
    ("9110-15.5.6 405 MUST send Allow", "POST", "Allow", "GET, HEAD"),
)
def test_plain_request_is_told_what_would_do(method, field, value):
    request = parse(head(f"{method} / HTTP/1.1", Upgrade=None))
    response = handshake.not_an_upgrade(request).response
    assert response.status == (405 if field == "Allow" else 426)
    assert response.headers[field] == value
    upgrade = b"\r\nConnection: close, Upgrade\r\n" in response.encode()
    assert upgrade is ("Upgrade" in response.headers), "9110-7.8 MUST send that connection option"


# The answer


@table(
    "offered, supported, chosen",
    ("4.2.2 5. one of those of the client", "chat, superchat", ["superchat"], "superchat"),
    ("1.9 the server's favourite", "chat, superchat", ["superchat", "chat"], "superchat"),
    ("9110-5.3 in repeated fields", "chat\r\nSec-WebSocket-Protocol: a", ["a"], "a"),
    ("4.2.2 5. none offered", None, ["chat"], None),
    ("4.2.2 5. none in common", "chat", ["superchat"], None),
    ("4.2.2 5. none supported", "chat", [], None),
    ("11.5 they have a case", "Chat", ["chat"], None),
)
def test_subprotocol(offered, supported, chosen):
    request = parse(head(Sec_WebSocket_Protocol=offered))
    assert handshake.choose_subprotocol(request, supported) == chosen


UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\n%bUpgrade: websocket\r\nConnection: Upgrade\r\n"
ACCEPT = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"  # of §1.3


@table(
    "subprotocol, headers, sent",
    ("1.3 the example", None, {}, UPGRADED % b"" + ACCEPT + b"\r\n"),
    (
        "4.2.2 5. a subprotocol and other fields",
        "chat",
        {"Set-Cookie": "a=b"},
        UPGRADED % b"Set-Cookie: a=b\r\n" + ACCEPT + b"Sec-WebSocket-Protocol: chat\r\n\r\n",
    ),
)
def test_101(subprotocol, headers, sent):
    assert handshake.accept(parse(head()), subprotocol, headers) == sent


@table(
    "response, status, more, body",
    ("text is UTF-8", Response(200, "é"), "200 OK", "", b"\xc3\xa9"),
    ("bytes are bytes", Response(404, b"\xff"), "404 Not Found", "", b"\xff"),
    ("9112-4 a status without a phrase", Response(299), "299 ", "", b""),
    ("fields", Response(200, headers={"X": "\xe9\u20ac"}), "200 OK", "X: \xe9?\r\n", b""),
)
def test_response(response, status, more, body):
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n{more}"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    assert response.encode() == head.encode("latin-1") + body
    assert response.encode("HEAD") == head.encode("latin-1"), "9110-9.3.2 MUST NOT send content"


def test_response_content_type():
    for response in (
        Response(200, content_type="a/b"),
        Response(200, headers={"Content-Type": "a/b"}),
    ):
        assert response.encode().count(b"Content-Type: a/b\r\n") == 1
        assert response.encode().lower().count(b"content-type") == 1


@table(
    "status, names",
    ("9112-6 what frames it", 200, "Connection content-length Transfer-Encoding"),
    ("4.2.2 5. what was agreed on", 101, "upgrade Sec-WebSocket-PROTOCOL sec-websocket-extensions"),
    ("4.2.2 5. and how", 101, "connection sec-websocket-accept"),
)
def test_a_response_may_not_set(status, names):
    for name in names.split():
        with pytest.raises(ValueError, match=f"^{name} is for the server to set$"):
            Response(status, headers={name: "x"})


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_response_that_has_no_body(status):
    """RFC 9110 §8.6, §15.3.5, §15.3.6, §15.4.5."""
    start, end = Response(status, "x", {"ETag": '"y"'}).encode().split(b"\r\n", 1)
    assert start.startswith(b"HTTP/1.1 %d " % status)
    assert end == b'ETag: "y"\r\nConnection: close\r\n\r\n'


@pytest.mark.parametrize("status", [0, 99, 100, 102, 199, 600, 1000, -200])
def test_no_other_status(status):
    with pytest.raises(ValueError, match=f"101 or from 200 to 599, not {status}$"):
        Response(status)


def test_fields_of_a_response_stay_as_they_were_checked():
    fields = {"X": "a"}
    response = Response(200, headers=fields)
    fields["X"] = "a\r\nY: b"
    assert response.headers["X"] == "a"
    with pytest.raises(TypeError):
        response.headers["X"] = "a\r\nY: b"


def test_101_with_an_extension():
    accepted = handshake.accept(parse(head()), None, {}, "permessage-deflate")
    assert accepted.endswith(b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")


@pytest.mark.parametrize("value", [";", "a;", "a; =1", "a; b=", "a; b=c d", 'a; b="c', "a b"])
def test_malformed_extensions(value):
    """RFC 6455 §9.1: the server must refuse what isn't a list of extensions."""
    assert refusal(head(GET, "Sec-WebSocket-Extensions: " + value)).status == 400


def test_extensions():
    offers = handshake.parse_extensions('a, , b; c; d=e;f="g" , a')
    assert offers == [("a", []), ("b", [("c", None), ("d", "e"), ("f", "g")]), ("a", [])]


@pytest.mark.parametrize("name", ["", "X\r\nY", "X:", "X Y", "\xe9"])
def test_name_that_would_break_out_of_its_line(name):
    with pytest.raises(ValueError, match="not a header field"):
        Response(200, headers={name: "x"})


@pytest.mark.parametrize("value", ["a\r\nY: b", "a\rb", "a\nb", "a\0b"])
def test_value_that_would_break_out_of_its_line(value):
    with pytest.raises(ValueError, match="not a header field"):
        Response(200, headers={"X": value})
    with pytest.raises(ValueError, match="not a header field"):
        Response(200, content_type=value)
    with pytest.raises(ValueError, match="not a header field"):
        basic_auth({}, realm=value)


# Basic authentication


def basic(pair: str, encoding="utf-8") -> str:
    return "Basic " + base64.b64encode(pair.encode(encoding)).decode()


@table(
    "authorization, user",
    ("7617-2 the example", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin"),
    ("7617-2 the scheme has no case", "bASIC QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin"),
    ("9110-11.4 more spaces", "Basic   QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin"),
    ("7617-2.1 UTF-8", "Basic dGVzdDoxMjPCow==", "test"),
    ("7617-2 the first colon ends the name", basic("colon:a:b"), "colon"),
    ("an empty name", basic(":nameless"), ""),
    ("an empty password, where there is one", basic("empty:"), "empty"),
    ("nothing", None, None),
    ("less than nothing", "", None),
    ("no credentials", "Basic", None),
    ("another password", basic("test:123"), None),
    ("with another case", basic("Aladdin:Open sesame"), None),
    ("with more", basic("Aladdin:open sesame!"), None),
    ("none", basic("Aladdin:"), None),
    ("somebody else's", basic("test:open sesame"), None),
    ("an unknown name", basic("ali:open sesame"), None),
    ("with no password", basic("ali:"), None),
    ("names have a case", basic("aladdin:open sesame"), None),
    ("another scheme", "Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==", None),
    ("no colon", basic("Aladdin"), None),
    ("not even where the password is empty", basic("empty"), None),
    ("not base64", "Basic Aladdin:open sesame", None),
    ("base64 with more", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==, Basic x", None),
    ("without its padding", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ", None),
    ("not ASCII", "Basic \xe9", None),
    ("not UTF-8", basic("test:123£", "latin-1"), None),
)
@pytest.mark.parametrize("by_function", [False, True])
def test_basic_auth(authorization, user, by_function):
    users = {"Aladdin": "open sesame", "test": "123£", "colon": "a:b", "": "nameless", "empty": ""}

    def check(name, password):
        return users.get(name) == password

    request = parse(head(Authorization=authorization))
    response = basic_auth(check if by_function else users)(request)
    assert request.user == user
    assert response is None if user is not None else response.status == 401


@pytest.mark.parametrize("name", ["ann", "nobody"])
@pytest.mark.parametrize("password", ["secrét", "secreT", "", "x" * 99])
def test_any_guess_takes_as_long(monkeypatch, name, password):
    """Each costs one comparison in constant time, be there such a user or not."""
    compared = []

    def compare_digest(secret, guess):
        compared.append(guess)
        return secret == guess

    monkeypatch.setattr("hmac.compare_digest", compare_digest)
    ask = basic_auth({"ann": "secrét"})
    response = ask(parse(head(Authorization=basic(f"{name}:{password}"))))
    assert (response is None) is ((name, password) == ("ann", "secrét"))
    assert compared == [password.encode()]


def test_401_says_what_is_wanted():
    response = basic_auth({}, realm='the "back\\office"')(parse(head()))
    challenge = r'Basic realm="the \"back\\office\"", charset="UTF-8"'
    assert response.headers["WWW-Authenticate"] == challenge


# Any bytes, in any pieces


def outcome(data: bytes, cuts: list[int]) -> object:
    """What *data* in pieces gives: a request and the bytes behind it, a status, or None yet."""
    head = Head(10_000)
    at = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    for start, stop in zip(at, at[1:]):
        try:
            complete = head.feed(data[start:stop])
        except HandshakeError as error:
            return error.response.status
        if complete is not None:
            request, rest = complete
            return request.method, request.target, dict(request.headers), rest + data[stop:]
    return None


some_cuts = st.lists(st.integers(0, 300), max_size=5)
names = st.text("!#xyz09", min_size=1, max_size=9).map("X-{}".format)
values = st.text(st.characters(min_codepoint=33, max_codepoint=255), min_size=1, max_size=9)


@given(st.dictionaries(names, values, max_size=4), st.binary(), some_cuts)
def test_any_split_of_a_good_head(more, rest, cuts):
    fields = {name.lower(): value for name, value in {**EXAMPLE, **more}.items()}
    assert outcome(head(GET, **more) + rest, cuts) == ("GET", "/chat", fields, rest)


@given(st.integers(0, len(head())), st.binary(max_size=3), st.integers(0, 3), some_cuts)
def test_any_change_of_a_good_head(at, inserted, dropped, cuts):
    data = head()[:at] + inserted + head()[at + dropped :]
    answer = outcome(data, [])
    assert answer in (None, 400, 505) or isinstance(answer, tuple)
    assert outcome(data, cuts) == answer


@given(st.binary(min_size=1), some_cuts)
def test_any_bytes(data, cuts):
    assert outcome(data, cuts) in (None, 400)


@given(st.text("/?#[]:@%&=;.a0*", min_size=1))
def test_any_target_has_a_path_and_a_query_or_is_refused(target):
    try:
        request = parse(head(f"GET {target} HTTP/1.1"))
    except HandshakeError as error:
        assert error.response.status == 400
    else:
        assert isinstance(request.path, str)
        assert isinstance(request.query, dict)


FIELDS = [*EXAMPLE, "Origin", "Cookie", "Sec-WebSocket-Protocol", "Content-Length"]


@given(st.dictionaries(st.sampled_from(FIELDS), values))
def test_any_fields_are_accepted_or_refused(fields):
    response = refusal(head(GET, **fields))
    assert response is None or response.status in (400, 403, 426)

"""RFC 6455 §4.2 as tables: a request head in, a request or the status of a refusal out.

Each row is named after its clause: "4.2.1" is a section of RFC 6455, "9112-3" one of RFC 9112.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws import handshake
from ws.handshake import HandshakeError, Head, Headers, Request, Response

EXAMPLE = {  # of §1.2, without Origin and Sec-WebSocket-Protocol
    "Host": "server.example.com",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
GET = "GET /chat HTTP/1.1"


def table(names, *rows):
    """Run a test for each row. A row starts with its name: the clause that it shows."""
    return pytest.mark.parametrize(names, [pytest.param(*row[1:], id=row[0]) for row in rows])


def head(start: str = GET, *more: str, **changes: str | None) -> bytes:
    """The example's head with other fields (None: without it), then *more* lines."""
    fields = {**EXAMPLE, **{name.replace("_", "-"): value for name, value in changes.items()}}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([start, *lines, *more, "", ""]).encode("latin-1")


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
    ("9112-2.2 no request line", b"\r\n\r\n", 400),
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
    (
        "9112-6.3 more than one Content-Length",
        head(**{"content-length": "0"}, Content_Length="0"),
        400,
    ),
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
)
def test_field(data, name, value):
    assert parse(data).headers[name] == value


@table(
    "method, target, path, query",
    ("9112-3.2.1 origin-form", "GET", "/~a!", "/~a!", {}),
    ("9112-3.2.1 that looks like a host", "GET", "//g/chat?b=c", "//g/chat", {"b": "c"}),
    ("9112-3.2.2 MUST accept absolute-form", "GET", "http://h/a?b=c", "/a", {"b": "c"}),
    ("9112-3.2.1 an empty path is /", "GET", "http://h?b", "/", {"b": ""}),
    ("9112-3.2.4 asterisk-form", "OPTIONS", "*", "*", {}),
    ("3986-2.1 percent-encoded", "GET", "/%C3%A9%3F?%20=%26", "/é?", {" ": "&"}),
    ("the last of a repeated parameter", "HEAD", "/?a=1&a=&b", "/", {"a": "", "b": ""}),
)
def test_request(method, target, path, query):
    request = parse(head(f"{method} {target} HTTP/1.1"))
    assert (request.method, request.target, request.version) == (method, target, "HTTP/1.1")
    assert (request.path, request.query) == (path, query)
    assert repr(request) == f"<Request {method} {target}>"
    assert request.secure is False
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
    ("4.2.1 1. HTTP/1.1 or higher", head("GET /chat HTTP/1.0"), 505),
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


@pytest.mark.parametrize("name", ["Connection", "content-length", "Transfer-Encoding"])
def test_a_response_may_not_set_what_frames_it(name):
    with pytest.raises(ValueError, match="for the server to set"):
        Response(200, headers={name: "x"})


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

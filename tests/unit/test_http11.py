"""HTTP/1.1 as tables: request heads in, responses out (RFC 9112).

Each row is named after its clause: "9112-3" is a section of RFC 9112, "3." one of RFC 6455.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.heads import EXAMPLE, GET, head, parse
from tests.support.tables import table
from ws.wire.http11 import SMALL_BODY_BYTES, HandshakeError, Headers, RequestReader, Response

HOST = EXAMPLE["Host"]


@table(
    "data, status",
    ("9112-2.2 MUST refuse a bare CR", head(X="a\rb"), 400),
    ("9112-2.2 nor is a bare LF the end of a line", head(X="a\nY: b"), 400),
    ("9112-2.2 nor of all lines", head().replace(b"\r\n", b"\n"), 400),
    ("9112-2.2 nor of the first", b"GET / HTTP/1.1\n", 400),
    ("9112-2.2 nor is it an empty line", b"\nGET", 400),
    ("9112-2.2 at least one empty line before it, but not many", b"\r\n" * 5, 400),
    ("9110-5.5 MUST refuse NUL", head(X="a\0b"), 400),
    *(
        (f"9110-5.5 other CTL characters are also invalid: {ord(c):#x}", head(X=f"a{c}b"), 400)
        for c in "\x01\x08\x0b\x0c\x0e\x1b\x1f\x7f"
    ),
    ("9112-3 three parts, not two", head("GET /chat"), 400),
    ("9112-3 nor four", head("GET /chat HTTP/1.1 "), 400),
    ("9112-3 a single space between them", head("GET  HTTP/1.1"), 400),
    ("9112-3 nothing in front", head(" /chat HTTP/1.1"), 400),
    ("9112-3.1 method = token", head("G(E)T /chat HTTP/1.1"), 400),
    ("9112-3.2 a target is ASCII", head("GET /\xe9 HTTP/1.1"), 400),
    ("9112-3.2 without control characters", head("GET /\x7f HTTP/1.1"), 400),
    ("9112-3.2 a URI", head("GET http://[/ HTTP/1.1"), 400),
    ("9112-3.2 that starts with / or http", head("GET chat HTTP/1.1"), 400),
    ("9112-3.2.4 asterisk-form is for OPTIONS", head("GET * HTTP/1.1"), 400),
    ("9112-3 nor is a tab a space", head("GET\t/ HTTP/1.1"), 400),
    ("9112-3.2 not in a target, either", head("GET /\t HTTP/1.1"), 400),
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
    ("3986-3.2 or that has two", head(Host="a:80:80"), 400),
    ("9110-4.2.1 or an empty name", head(Host=":80"), 400),
    ("3986-3.2.2 or brackets around nothing", head(Host="[]"), 400),
    ("3986-3.2.2 or one of them", head(Host="[::1"), 400),
    ("3986-3.2.2 or in the name", head(Host="a]"), 400),
    ("3986-3.2.2 IPv6 MUST have brackets", head(Host="::1"), 400),
    ("3986-3.2.2 not a character of a name", head(Host="a|b"), 400),
    ("1035-2.3.4 names have 255 octets or less", head(Host="a" * 300), 400),
    ("9110-5.6.1 over 100 members of a list", head(Connection="a," * 99 + "a,upgrade"), 400),
    ("9110-5.6.1 empty ones count", head(GET, "X-Forwarded-For: " + "," * 100), 400),
    ("9110-5.3 in repeated fields, too", head(GET, *["X-Forwarded-For: " + "a," * 50] * 2), 400),
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
        RequestReader(10_000).feed(data)
    assert caught.value.response.status == status


@table(
    "data, name, value",
    ("9110-5.1 a name has no case", head(Host=None, hOST="x"), "Host", "x"),
    ("9112-5.1 whitespace around a value is not part of it", head(X=" \tx \t"), "x", "x"),
    ("9112-5.1 nor must there be any", head(GET, "X:x"), "x", "x"),
    ("9110-5.5 a no-break space isn't such", head(X="\xa0 \xe9 \xa0"), "x", "\xa0 \xe9 \xa0"),
    ("9110-5.6.1 100 members", head(Connection="a," * 98 + "a,b"), "connection", "a," * 98 + "a,b"),
    ("9110-5.5 a tab within a value", head(X="a\tb"), "x", "a\tb"),
    ("3986-3.2.2 IPv6", head(Host="[2001:db8::1]:80"), "host", "[2001:db8::1]:80"),
    ("3986-3.2.2 all zeros", head(Host="[::]"), "host", "[::]"),
    ("3986-3.2.2 IPvFuture", head(Host="[v7.a:b]"), "host", "[v7.a:b]"),
    ("3986-3.2.3 an empty port", head(Host="a:"), "host", "a:"),
    ("3986-2.1 percent-encoded", head(Host="%41_b.c"), "host", "%41_b.c"),
    ("1034-3.1 a final dot", head(Host="a.:80"), "host", "a.:80"),
    ("9110-5.5 an empty value, a colon, obs-text", head(X="", Y=":\xe9"), "y", ":\xe9"),
    ("9110-5.3 repeated fields are a list, in order", head(X="a", x="b, c"), "x", "a, b, c"),
    ("9113-8.2.3 but cookies by semicolons", head(Cookie="a", cookie="b"), "cookie", "a; b"),
    ("9110-4.1 8192 bytes of target", head(f"GET /{'x' * 8191} HTTP/1.1", X="x"), "x", "x"),
    ("6585-5 100 fields", head(GET, *["X: x"] * 95), "x", ", ".join("x" * 95)),
    ("9112-3.2 HTTP/1.0 without Host", head("GET / HTTP/1.0", Host=None), "upgrade", "websocket"),
    ("9112-2.2 empty lines before it", b"\r\n" * 4 + head(X="a"), "x", "a"),
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
    "start, fields, upgrade",
    ("4.1 a handshake", GET, {}, True),
    ("4.2.1 whatever the case", GET, {"Upgrade": "WebSocket"}, True),
    ("9110-7.8 one of several protocols", GET, {"Upgrade": "h2c, websocket"}, True),
    ("9110-7.8 another protocol", GET, {"Upgrade": "h2c"}, False),
    ("9110-7.8 MUST ignore it in HTTP/1.0", "GET / HTTP/1.0", {}, False),
    ("a request for a page", GET, {"Upgrade": None}, False),
)
def test_is_upgrade(start, fields, upgrade):
    assert parse(head(start, **fields)).is_upgrade is upgrade


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
    headers = Headers({"cookie": "a"})
    headers.add("Cookie", "b")
    headers.add("X", "c")
    headers.add("x", "d")
    assert dict(headers) == {"cookie": "a; b", "x": "c, d"}
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
        RequestReader(40).feed(data.encode())
    assert caught.value.response.status == status


@pytest.mark.parametrize("rest", [b"", b"x" * 100])
def test_40_bytes_and_an_empty_line_and_what_comes_after(rest):
    start = f"GET / HTTP/1.1\r\nHost: h\r\nX: {'x' * 12}".encode()
    assert len(start) == 40
    head = RequestReader(40)
    for part in (b"", start, b"\r", b"\n", b"\r"):
        assert head.feed(part) is None
    assert head.feed(b"\n" + rest)[1] == rest


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
    assert sent(response) == head.encode("latin-1") + body
    assert sent(response, "HEAD") == head.encode("latin-1"), "9110-9.3.2 MUST NOT send content"


def sent(response: Response, method: str = "GET") -> bytes:
    return b"".join(response.encode(method))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_large_body_is_sent_as_it_is(method):
    """Its memory is shared by all who get it. A small one leaves with its head, in one packet."""
    page = bytes(SMALL_BODY_BYTES + 1)
    large, small = Response(200, page), Response(200, page[1:])
    assert len(small.encode(method)) == 1
    pieces = large.encode(method)
    assert pieces[0].endswith(b"Content-Length: 16385\r\nConnection: close\r\n\r\n")
    assert [piece is page for piece in pieces[1:]] == [True] * (method == "GET")


def test_response_content_type():
    for response in (
        Response(200, content_type="a/b"),
        Response(200, headers={"Content-Type": "a/b"}),
    ):
        assert sent(response).count(b"Content-Type: a/b\r\n") == 1
        assert sent(response).lower().count(b"content-type") == 1


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
    start, end = sent(Response(status, "x", {"ETag": '"y"'})).split(b"\r\n", 1)
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


def outcome(data: bytes, cuts: list[int]) -> object:
    """What *data* in pieces gives: a request and the bytes after it, a status, or None yet."""
    head = RequestReader(10_000)
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


values = st.text(
    st.characters(min_codepoint=33, max_codepoint=255, blacklist_characters="\x7f"),
    min_size=1,
    max_size=9,
)


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


def test_what_a_reader_holds():
    reader = RequestReader(10_000)
    assert reader.held < 100
    for _ in range(100):
        reader.feed(b"x" * 50)
    assert 5000 <= reader.held < 6000


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

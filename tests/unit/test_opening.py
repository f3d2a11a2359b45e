"""The client's side of the opening handshake: RFC 6455 §3 and §4.1, a row for each MUST."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.heads import parse
from tests.support.tables import table
from ws.wire.deflate import Compression
from ws.wire.handshake import accept, check_upgrade
from ws.wire.opening import (
    HandshakeRefused,
    Opening,
    ResponseReader,
    basic,
    check_fields,
    parse_response,
    parse_url,
    redirect,
)

EXAMPLE = parse_url("ws://server.example.com/chat")
LIMIT = 1000


@table(
    "text, secure, authority, resource",
    ("3. ws", "ws://example.org", False, "example.org:80", "/"),
    ("3. wss", "wss://example.org", True, "example.org:443", "/"),
    ("3. a port", "ws://example.org:81/", False, "example.org:81", "/"),
    ("3. a path and a query", "ws://h/a/b?c=d", False, "h:80", "/a/b?c=d"),
    ("3. no path, but a query", "ws://h?c=d", False, "h:80", "/?c=d"),
    ("3986-3.1 schemes have no case", "WSS://h/", True, "h:443", "/"),
    ("3986-3.2.2 hosts, neither", "ws://EXAMPLE.org/A", False, "example.org:80", "/A"),
    ("3986-3.2.2 IPv6", "ws://[::1]:8000/", False, "[::1]:8000", "/"),
    ("3987-3.1 as ASCII", "ws://bücher.example/ü?ü", False, "xn--bcher-kva.example:80", None),
    ("what is encoded stays so", "ws://h/%C3%BC%2F", False, "h:80", "/%C3%BC%2F"),
    ("as browsers do: http", "http://h/", False, "h:80", "/"),
    ("as browsers do: https", "https://h/", True, "h:443", "/"),
)
def test_url(text, secure, authority, resource):
    url = parse_url(text)
    assert (url.secure, url.authority) == (secure, authority)
    assert url.resource == (resource or "/%C3%BC?%C3%BC")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.org",
        "ftp://example.org/",
        "ws:///path",
        "ws://h:99999/",
        "ws://h:x/",
        "ws://[::1/",
        "ws://h/a b",
        "ws://h/\r\nX: y",
        "ws://h/\0",
        "ws+unix://",
        "ws://" + "ü" * 99,
        "ws://h/#fragment",
        "ws://h/#",
    ],
)
def test_not_a_url(text):
    """§3: fragment identifiers MUST NOT be used; §4.1: the components MUST be valid."""
    with pytest.raises(ValueError):
        parse_url(text)


@table(
    "text, host",
    ("as it is", "ws://h/a", "h"),
    ("the scheme's port is left out", "wss://h:443/", "h"),
    ("other ports are not", "wss://h:80/", "h:80"),
    ("IPv6", "ws://[::1]/", "[::1]"),
    ("a Unix socket", "ws+unix:///run/x.sock", "localhost"),
)
def test_url_as_text(text, host):
    url = parse_url(text)
    assert str(url) == text.replace(":443", "")
    assert url.host_field == host


def test_credentials_of_a_url():
    assert parse_url("ws://user:p%40ss@h/").credentials == "user:p@ss"
    assert parse_url("ws://user@h/").credentials == "user:"
    assert "p@ss" not in str(parse_url("ws://user:p%40ss@h/")), "it may be logged"


@table(
    "url, location, target",
    ("absolute", "ws://a/x", "ws://b/y", "ws://b/y"),
    ("absolute, as HTTP", "ws://a/x", "http://b/y", "ws://b/y"),
    ("of the same host", "ws://a/x/y", "/z?q", "ws://a/z?q"),
    ("relative", "ws://a/x/y", "z", "ws://a/x/z"),
    ("to TLS", "ws://a/", "https://a/", "wss://a/"),
    ("with TLS", "wss://a/", "//b/", "wss://b/"),
    ("from TLS to none", "wss://a/", "ws://a/", None),
    ("elsewhere", "ws://a/", "ftp://a/", None),
)
def test_redirect(url, location, target):
    if target is None:
        with pytest.raises(ValueError):
            redirect(parse_url(url), location)
    else:
        assert str(redirect(parse_url(url), location)) == target


def test_credentials_stay_with_their_origin():
    url = parse_url("ws://user:pass@a/")
    assert redirect(url, "/x").credentials == "user:pass"
    assert redirect(url, "ws://me:too@a/x").credentials == "me:too"
    assert redirect(url, "ws://b/").credentials == ""
    assert redirect(url, "ws://a:81/").credentials == ""


# The request


def request(url="ws://h/", headers=(), subprotocols=(), compression=None):
    return Opening(parse_url(url), dict(headers), subprotocols, compression).head.decode("latin-1")


@table(
    "options, line",
    ("4.1 MUST be GET, and HTTP at least 1.1", {"url": "ws://h/a?b"}, "GET /a?b HTTP/1.1"),
    ("4.1 MUST contain Host", {"url": "ws://h:81/"}, "Host: h:81"),
    ("4.1 without the scheme's port", {"url": "wss://h:443/"}, "Host: h"),
    ("4.1 MUST contain Upgrade", {}, "Upgrade: websocket"),
    ("4.1 MUST contain Connection", {}, "Connection: Upgrade"),
    ("4.1 MUST contain Sec-WebSocket-Version", {}, "Sec-WebSocket-Version: 13"),
    ("4.1 MAY contain protocols", {"subprotocols": "ab"}, "Sec-WebSocket-Protocol: a, b"),
    ("4.1 MAY contain others", {"headers": {"Cookie": "a=b"}}, "Cookie: a=b"),
    ("4.1 such as Origin", {"headers": {"Origin": "http://x"}}, "Origin: http://x"),
    ("7617-2", {"url": "ws://a:b@h/"}, "Authorization: Basic YTpi"),
    ("a program's own first", {"headers": {"host": "other"}}, "host: other"),
    (
        "7692-5.1",
        {"compression": Compression(server_context_takeover=True, client_context_takeover=True)},
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    ),
)
def test_request(options, line):
    lines = request(**options).split("\r\n")
    assert line in lines
    assert lines[-2:] == ["", ""]
    names = [one.partition(":")[0].lower() for one in lines[1:]]
    assert len(set(names[:-2])) == len(names[:-2]), "each field once"


def test_what_is_not_asked_for_is_not_in_it():
    head = request().lower()
    for name in ("protocol", "extensions", "origin", "authorization", "cookie"):
        assert name not in head


def test_keys():
    """§4.1: the nonce MUST be 16 bytes in base64, selected randomly for each connection."""
    keys = {Opening(EXAMPLE, {}, (), None).request.headers["sec-websocket-key"] for _ in range(50)}
    assert len(keys) == 50
    assert all(len(base64.b64decode(key, validate=True)) == 16 for key in keys)


def test_our_server_takes_it():
    opening = Opening(parse_url("ws://u:p@h:1/ü?x"), {"Origin": "http://h:1"}, ["a"], Compression())
    request = parse(opening.head)
    check_upgrade(request)
    assert request.headers == opening.request.headers
    assert request.query == {"x": ""}
    head = accept(request, "a", {}, "")
    subprotocol, deflate = opening.check(parse_response(head[:-4]))
    assert (subprotocol, deflate) == ("a", None)


@table(
    "headers",
    ("a name that is none", {"a b": "c"}),
    ("a line end", {"a": "b\r\nc: d"}),
    ("NUL", {"a": "\0"}),
    ("not Latin-1", {"a": "€"}),
    ("Connection", {"connection": "close"}),
    ("Upgrade", {"Upgrade": "h2c"}),
    ("a body", {"Content-Length": "1"}),
    ("a body in chunks", {"Transfer-Encoding": "chunked"}),
    ("the handshake's own", {"Sec-WebSocket-Key": "x"}),
)
def test_fields_that_a_program_may_not_set(headers):
    with pytest.raises(ValueError):
        check_fields(headers)


def test_which_hosts_are_this_machine():
    for host in ("localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "[::1]"):
        assert parse_url(f"ws://{host}:1/").is_loopback
    for host in ("localhost.example", "10.0.0.1", "[::2]", "127.example"):
        assert not parse_url(f"ws://{host}:1/").is_loopback


def test_fields_that_it_may_set():
    check_fields({"Cookie": "a=b", "Host": "x", "User-Agent": "ü"})
    assert basic("a:ü") == "Basic YTrDvA=="


# The answer: what is read


OK = "HTTP/1.1 101 Switching Protocols"


def read(*lines, rest=b""):
    """Return what the reader finds, which must be the same if each byte comes by itself."""
    data = "\r\n".join([*lines, "", ""]).encode("latin-1") + rest
    found = ResponseReader(LIMIT).feed(data)
    reader = ResponseReader(LIMIT)
    for i in range(len(data) - len(rest)):
        one = reader.feed(data[i : i + 1])
    assert one is not None
    assert found is not None
    assert vars_of(one[0]) == vars_of(found[0])
    return found


def vars_of(response):
    return response.status, response.reason, dict(response.headers), response.body


def test_response():
    response, rest = read(OK, "A: b", "a:c ", rest=b"\x81\x00")
    assert vars_of(response) == (101, "Switching Protocols", {"a": "b, c"}, b"")
    assert rest == b"\x81\x00"
    assert repr(response) == "<ServerResponse 101 Switching Protocols>"


@table(
    "first, status, reason",
    ("9112-4 no reason", "HTTP/1.1 404 ", 404, ""),
    ("as some have it", "HTTP/1.1 404", 404, ""),
    ("9112-2.3 the older minor version", "HTTP/1.0 200 OK", 200, "OK"),
    ("not in ASCII", "HTTP/1.1 503 \xfc", 503, "ü"),
)
def test_status_lines(first, status, reason):
    response, _ = read(first)
    assert (response.status, response.reason) == (status, reason)


@table(
    "lines",
    ("9112-4 another protocol", ["RTSP/1.0 200 OK"]),
    ("9113 another version", ["HTTP/2 200"]),
    ("9112-4 the version in full", ["HTTP/1. 200 OK"]),
    ("9112-4 three digits", ["HTTP/1.1 20 OK"]),
    ("9112-4 not four", ["HTTP/1.1 2000 OK"]),
    ("9112-4 of ASCII", ["HTTP/1.1 20\xb2 OK"]),
    ("9112-4 one space", ["HTTP/1.1  200 OK"]),
    ("9112-5 a colon", [OK, "X"]),
    ("9110-5.1 a name", [OK, ": x"]),
    ("9112-5.1 no space before the colon", [OK, "X : x"]),
    ("9112-5.2 obs-fold", [OK, "X: x", " y"]),
    ("9112-6.3 two lengths", [OK, "Content-Length: 1", "content-length: 2"]),
    ("9110-5.5 another control character", [OK, "X: \x1b[2J"]),
    ("9112-2.2 a bare CR", [OK, "X: x\ry"]),
    ("9112-2.2 a bare LF", [OK, "X: x\ny: z"]),
    ("9110-5.5 NUL", [OK, "X: \0"]),
    ("over 100 fields", [OK, *["X: "] * 101]),
)
def test_malformed_answers(lines):
    with pytest.raises(ConnectionError):
        read(*lines)


@pytest.mark.parametrize("garbage", [b"\x15\x03\x01\x00\x02\x02", b"SSH-2.0", b"\0", b"<html>"])
def test_another_protocol_is_noticed_at_once(garbage):
    with pytest.raises(ConnectionError, match="doesn't speak HTTP"):
        ResponseReader(LIMIT).feed(garbage)


def test_interim_responses_are_passed_over():
    """RFC 9110 §15.2: any number may come, and none is asked for."""
    response, rest = read(
        "HTTP/1.1 100 Continue", "", "HTTP/1.1 103 ", "Link: x", "", OK, rest=b"r"
    )
    assert (response.status, rest) == (101, b"r")
    assert "link" not in response.headers


def test_a_head_has_a_limit():
    line = "X: " + "x" * (LIMIT - len(OK) - 2 - 3)
    read(OK, line)
    with pytest.raises(ConnectionError, match="over 1000 bytes"):
        read(OK, line + "x")
    with pytest.raises(ConnectionError, match="over 1000 bytes"):
        ResponseReader(LIMIT).feed(OK.encode() + bytes(LIMIT))


def test_all_heads_together_have_it():
    reader = ResponseReader(LIMIT)
    with pytest.raises(ConnectionError, match="over"):
        for _ in range(LIMIT):
            assert reader.feed(b"HTTP/1.1 100 Continue\r\n\r\n") is None


@given(st.binary(max_size=60), st.integers(1, 9))
def test_any_answer_is_a_response_or_an_error(data, size):
    reader = ResponseReader(LIMIT)
    try:
        for i in range(0, len(data), size):
            reader.feed(data[i : i + size])
    except ConnectionError:
        pass


# The answer: what is checked


def answer(opening, *more, status="101 Switching Protocols", **changes):
    key = opening.request.headers["sec-websocket-key"].encode()
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    fields = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": base64.b64encode(digest).decode(),
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return parse_response("\r\n".join([f"HTTP/1.1 {status}", *lines, *more]).encode())


@table(
    "changes, more",
    ("4.1 any case", {"Upgrade": "WebSocket", "Connection": "uPGRADE"}, []),
    ("4.1 a token among others", {"Connection": "keep-alive, Upgrade"}, []),
    ("4.1 more fields", {}, ["Server: x", "Set-Cookie: a=b"]),
)
def test_accepted(changes, more):
    opening = Opening(EXAMPLE, {}, ["chat"], None)
    assert opening.check(answer(opening, *more, **changes)) == (None, None)


@table(
    "wrong, more",
    ("4.1 (2) no Upgrade", {"Upgrade": None}, []),
    ("4.1 (2) another one", {"Upgrade": "h2c"}, []),
    ("4.1 (3) no Connection", {"Connection": None}, []),
    ("4.1 (3) without the token", {"Connection": "keep-alive"}, []),
    ("4.1 (4) no Accept", {"Sec_WebSocket_Accept": None}, []),
    ("4.1 (4) another's", {"Sec_WebSocket_Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, []),
    ("4.1 (4) two of them", {}, ["Sec-WebSocket-Accept: x"]),
    ("4.1 (5) an extension not asked for", {}, ["Sec-WebSocket-Extensions: x-other"]),
    ("4.1 (5) nor this one", {}, ["Sec-WebSocket-Extensions: permessage-deflate"]),
    ("4.1 (5) a malformed one", {}, ["Sec-WebSocket-Extensions: ;"]),
    ("4.1 (6) a subprotocol not asked for", {}, ["Sec-WebSocket-Protocol: x"]),
    ("4.1 (6) in another case", {}, ["Sec-WebSocket-Protocol: CHAT"]),
    ("4.1 (6) two of them", {}, ["Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: b"]),
    ("4.1 (6) an empty one", {}, ["Sec-WebSocket-Protocol: "]),
    ("4.1 (1) another status", {"status": "200 OK"}, []),
    ("4.1 (1) a redirection", {"status": "302 Found"}, ["Location: ws://x/"]),
    ("4.1 (1) a refusal", {"status": "401 Unauthorized"}, []),
)
def test_refused(wrong, more):
    opening = Opening(EXAMPLE, {}, ["chat", "b"], None)
    with pytest.raises(HandshakeRefused) as refused:
        opening.check(answer(opening, *more, **wrong))
    assert refused.value.response.status == int(wrong.get("status", "101")[:3])
    assert str(refused.value).startswith("the server answered ")


def test_a_subprotocol_that_was_asked_for():
    opening = Opening(EXAMPLE, {}, ["chat", "b"], None)
    assert opening.check(answer(opening, "Sec-WebSocket-Protocol: b")) == ("b", None)


PMD = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover"


@table(
    "extensions, valid",
    ("none at all", [], True),
    ("what was offered", [PMD], True),
    ("7692-5.1 in another case", [PMD.replace("p", "P")], True),
    ("7692-5 twice", [PMD, PMD], False),
    ("with another", [PMD, "Sec-WebSocket-Extensions: x"], False),
    ("7692-7.1 an unknown parameter", [PMD + "; x"], False),
)
def test_compression(extensions, valid):
    opening = Opening(EXAMPLE, {}, (), Compression())
    if valid:
        _, deflate = opening.check(answer(opening, *extensions))
        assert bool(deflate) == bool(extensions)
    else:
        with pytest.raises(HandshakeRefused, match="wrong extension"):
            opening.check(answer(opening, *extensions))

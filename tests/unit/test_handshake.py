"""The opening handshake as tables: a request in, acceptance or a refusal out (RFC 6455 §4.2).

Each row is named after its clause: "4.2.1" is a section of RFC 6455, "9110-7.8" one of RFC 9110.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.heads import EXAMPLE, GET, head, parse
from tests.support.tables import table
from ws.wire import handshake
from ws.wire.http11 import HandshakeError, Response

values = st.text(
    st.characters(min_codepoint=33, max_codepoint=255, blacklist_characters="\x7f"),
    min_size=1,
    max_size=9,
)


def refusal(data: bytes, origins: tuple[str, ...] = (), secure: bool = False) -> Response | None:
    """What a handshake is refused with, None if it is accepted."""
    try:
        request = parse(data)
        request.secure = secure
        handshake.check_upgrade(request, origins)
    except HandshakeError as error:
        return error.response
    return None


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
    assert response.encode()[0].startswith(f"HTTP/1.1 {status} ".encode())


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
    ("as long as no host is", "http://" + "h" * 300, "h", (), False),
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
    "origin, secure, origins, allowed",
    ("a page that came by TLS", "https://h", True, (), True),
    ("one that anybody on its way could change", "http://h", True, (), False),
    ("also with the port of https", "http://h:443", True, (), False),
    ("unless listed", "http://h", True, ("http://h",), True),
    ("6455-10.2 ws as an origin is no better", "ws://h", True, (), False),
    ("a server behind a proxy that ends TLS and isn't trusted", "https://h", False, (), True),
    ("no TLS at all", "http://h", False, (), True),
)
def test_origin_over_tls(origin, secure, origins, allowed):
    response = refusal(head(Origin=origin, Host="h"), origins, secure)
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
    upgrade = b"\r\nConnection: close, Upgrade\r\n" in response.encode()[0]
    assert upgrade is ("Upgrade" in response.headers), "9110-7.8 MUST send that connection option"


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


def test_101_with_an_extension():
    accepted = handshake.accept(parse(head()), None, {}, "permessage-deflate")
    assert accepted.endswith(b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")


@pytest.mark.parametrize("value", [";", "a;", "a; =1", "a; b=", "a; b=c d", 'a; b="c', "a b"])
def test_malformed_extensions(value):
    """RFC 6455 §9.1: the server must refuse what isn't a list of extensions."""
    assert refusal(head(GET, "Sec-WebSocket-Extensions: " + value)).status == 400


@table(
    "value, status",
    ("32 offers and parameters", "a; b, " * 15 + "a; b", None),
    ("33", "a; b, " * 16 + "a", 400),
    ("33 parameters", "a" + "; b=c" * 33, 400),
    ("empty members count", "a" + "," * 32, 400),
)
def test_number_of_extensions(value, status):
    response = refusal(head(GET, "Sec-WebSocket-Extensions: " + value))
    assert (response and response.status) == status
    if response is not None:
        assert b"over 32 offers and parameters" in response.body


def test_a_refusal_does_not_repeat_much_of_what_was_sent():
    response = refusal(head(Origin="\xff" * 9000))
    assert len(response.body) < 1000


def test_offers_are_kept_for_who_accepts_the_request():
    request = parse(head(GET, "Sec-WebSocket-Extensions: a; b=c"))
    assert request.offers == ()
    handshake.check_upgrade(request)
    assert request.offers == [("a", [("b", "c")])]


def test_extensions():
    offers = handshake.parse_extensions('a, , b; c; d=e;f="g" , a')
    assert offers == [("a", []), ("b", [("c", None), ("d", "e"), ("f", "g")]), ("a", [])]


FIELDS = [*EXAMPLE, "Origin", "Cookie", "Sec-WebSocket-Protocol", "Content-Length"]


@given(st.dictionaries(st.sampled_from(FIELDS), values))
def test_any_fields_are_accepted_or_refused(fields):
    response = refusal(head(GET, **fields))
    assert response is None or response.status in (400, 403, 426)

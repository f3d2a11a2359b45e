"""Who may connect, and from where: hosts, passwords, and what trusted proxies tell."""

from __future__ import annotations

import base64
import logging
import socket
import struct

import pytest

from tests.support.certificates import trusting_context
from tests.support.heads import request
from tests.support.rawclient import RawClient
from tests.support.waiting import DEADLINE, eventually
from ws import Response, WSServer, basic_auth
from ws.wire.proxy import SIGNATURE

LOCAL = SIGNATURE + b"\x20\0\0\0"


def v1(ip="1.2.3.4", port=5):
    return f"PROXY TCP4 {ip} 127.0.0.1 {port} 80\r\n".encode()


def v2(ip="1.2.3.4", port=5, more=b""):
    packed = socket.inet_aton(ip) * 2 + struct.pack("!HH", port, 80) + more
    return SIGNATURE + b"\x21\x11" + struct.pack("!H", len(packed)) + packed


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


# Hosts


@pytest.mark.parametrize(
    "hosts, host, status",
    [
        (None, "evil.example", 101),
        ("localhost", "localhost:8000", 101),
        (["a.example", "*.b.example"], "c.b.example", 101),
        (["a.example", "*.b.example"], "evil.example", 421),
    ],
)
def test_hosts(serve, caplog, hosts, host, status):
    serving = serve(hosts=hosts)
    for _ in range(3):
        with RawClient(serving.port, request(host=host)) as peer:
            assert peer.status == status
    assert warnings(caplog) == [
        f"host '{host}' refused; to let it in, pass hosts=[...]" for _ in range(status == 421)
    ]


def test_a_page_that_has_renamed_this_server_gets_nothing(serve):
    """DNS rebinding: its origin is the host that it asks for, so the origin check is passed."""
    serving = serve(hosts=["localhost"])
    serving.server.onrequest(lambda request: Response(200, "secret"))
    fields = ("Origin: http://evil.example",)
    for head in (request("/", *fields, host="evil.example"), b"GET / HTTP/1.0\r\n\r\n"):
        with RawClient(serving.port, head) as peer:
            assert peer.status == 421
            assert "secret" not in peer.response


def test_a_host_that_can_be_none_is_an_error_at_once():
    with pytest.raises(ValueError, match="hosts="):
        WSServer(hosts="http://localhost")


# Passwords


def test_basic_auth(serve):
    serving = serve()
    ask = basic_auth({"ann": "secrét"})

    @serving.server.onrequest
    def check(request):
        if request.path == "/health":
            return Response(204)
        return ask(request)

    def get(path, pair):
        fields = ["Authorization: Basic " + base64.b64encode(pair.encode()).decode()] * bool(pair)
        peer = RawClient(serving.port, request(path, *fields))
        serving.peers.append(peer)
        return peer

    assert get("/", "ann:secrét").status == 101
    assert serving.next("open").request.user == "ann"
    assert get("/health", "").status == 204
    for pair in ("", "ann:secret", "bob:secrét", "ann"):
        peer = get("/", pair)
        assert peer.status == 401
        assert '\r\nWWW-Authenticate: Basic realm="WebSocket", charset="UTF-8"\r\n' in peer.response


# X-Forwarded-For and X-Forwarded-Proto


def test_forwarded(serve, caplog):
    caplog.set_level(logging.INFO, "ws")
    serving = serve(trusted_proxies="127.0.0.0/8", max_clients_per_address=2)
    seen = []
    serving.server.onrequest(lambda request: seen.append((request.address, request.secure)))
    fields = ("X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https")
    peer, client = serving.connect(*fields)
    assert client.getpeername() == client.request.address == ("1.2.3.4", 0)
    assert client.request.secure is True
    assert seen == [(("1.2.3.4", 0), True)]
    assert serving.server.stats()["clients"][0]["address"] == ("1.2.3.4", 0)
    serving.connect("X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https, http")
    assert seen[-1] == (("1.2.3.4", 0), False)
    with RawClient(serving.port, request("/", *fields)) as refused:
        assert refused.status == 429
    assert warnings(caplog) == ["max_clients_per_address=2 reached by 1.2.3.4"]
    assert "('1.2.3.4', 0): <Request GET />: 429" in caplog.text
    for _ in range(3):  # the proxy itself isn't limited
        serving.connect()
    for other in serving.peers:
        other.close()
    eventually(lambda: not serving.active)


@pytest.mark.parametrize("trusted", [(), "unix", "127.0.0.2", "10.0.0.0/8"])
def test_forwarded_by_anybody(serve, trusted):
    fields = ("X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https")
    peer, client = serve(trusted_proxies=trusted).connect(*fields)
    assert client.getpeername() == client.request.address == peer.sock.getsockname()
    assert client.request.secure is False


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
@pytest.mark.parametrize("trusted, address", [("unix", ("9.9.9.9", 0)), ("127.0.0.1", "")])
def test_forwarded_through_a_unix_socket(serve, tmp_path, trusted, address):
    path = str(tmp_path / "ws.sock")
    serving = serve(unix=path, trusted_proxies=trusted, max_clients_per_address=1)
    _, client = serving.connect("X-Forwarded-For: 9.9.9.9", unix=path)
    assert client.getpeername() == address


def test_floods_that_a_proxy_tells_of_are_just_closed(serve, monkeypatch):
    monkeypatch.setattr("ws.admission.REFUSED_SPARE", 2)
    serving = serve(trusted_proxies="127.0.0.1", max_clients_per_address=1)
    head = request("/", "X-Forwarded-For: 1.2.3.4")
    serving.connect("X-Forwarded-For: 1.2.3.4")
    peers = [RawClient(serving.port, head) for _ in range(2)]
    assert [peer.status for peer in peers] == [429, 429]
    with pytest.raises((EOFError, ConnectionError)):
        RawClient(serving.port, head)
    assert serving.connect("X-Forwarded-For: 1.2.3.5")
    eventually(lambda: serving.active == 4)


# The PROXY protocol


@pytest.fixture
def proxied(serve):
    return lambda **options: serve(trusted_proxies="127.0.0.1", proxy_protocol=True, **options)


def through(serving, header, context=None, head=None):
    """Return a peer whose request came after *header*."""
    peer = RawClient(serving.port)
    serving.peers.append(peer)
    peer.sock.sendall(header)
    if context:
        peer.sock = context.wrap_socket(peer.sock, server_hostname="localhost")
    peer.handshake(head or request())
    return peer


@pytest.mark.parametrize("header", [v1(), v2(), v2(more=b"x" * 1000)], ids=["1", "2", "2 long"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_proxy_protocol(proxied, certificate, header, tls):
    options, context = (certificate.options, trusting_context()) if tls else ({}, None)
    serving = proxied(max_clients_per_address=1, **options)
    peer = through(serving, header, context)
    client = serving.next("open")
    assert peer.status == 101
    assert client.getpeername() == client.request.address == ("1.2.3.4", 5)
    assert client.request.secure is tls
    peer.send("x" * 100_000)
    assert peer.recv() == "x" * 100_000
    assert through(serving, header, context).status == 429
    for peer in serving.peers:
        peer.close()
    eventually(lambda: not serving.active)


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"])
def test_a_header_that_tells_no_address(proxied, header):
    """Then the rest may come from anybody, so X-Forwarded-For is not believed."""
    serving = proxied()
    peer = through(serving, header, head=request("/", "X-Forwarded-For: 6.6.6.6"))
    assert serving.next("open").getpeername() == peer.sock.getsockname()


@pytest.mark.parametrize("header", [v1(), v2()], ids=["1", "2"])
def test_a_header_and_a_request_byte_by_byte(proxied, header):
    serving = proxied()
    with RawClient(serving.port) as peer:
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in header:
            peer.sock.sendall(bytes([octet]))
        peer.handshake(request())
        assert serving.next("open").getpeername() == ("1.2.3.4", 5)


def test_a_header_right_ahead_of_a_request(proxied):
    serving = proxied()
    with RawClient(serving.port, v2() + request()) as peer:
        assert peer.status == 101
        assert serving.next("open").getpeername() == ("1.2.3.4", 5)


@pytest.mark.parametrize(
    "data, why",
    [
        (request(), "it sent no PROXY protocol header"),
        (b"\x16\x03\x01", "it sent no PROXY protocol header"),
        (v1(port=65536), "its PROXY protocol header is malformed"),
        (b"PROXY " + b"x" * 200, "its PROXY protocol header is of over 107 bytes"),
        (SIGNATURE + b"\x21\x11\xff\xff", "its PROXY protocol header is of over 4096 bytes"),
    ],
)
def test_a_header_that_is_none(proxied, caplog, data, why):
    serving = proxied()
    for _ in range(2):
        with RawClient(serving.port) as peer:
            name = peer.sock.getsockname()
            peer.sock.sendall(data)
            assert peer.at_eof()
    assert len(warnings(caplog)) == 1, "rate-limited"
    assert warnings(caplog)[0].endswith(f" refused: {why}")
    assert name != ("1.2.3.4", 5)
    assert through(serving, v1()).status == 101, "the others go on"


def test_a_probe_that_says_nothing_is_no_warning(proxied, caplog):
    serving = proxied()
    for data in (b"", b"PROXY"):
        with RawClient(serving.port) as peer:
            peer.sock.sendall(data)
            peer.sock.shutdown(socket.SHUT_WR)
            assert peer.at_eof()
    assert not warnings(caplog)


def test_not_from_anybody(serve, caplog):
    serving = serve(trusted_proxies=["10.0.0.0/8", "unix"], proxy_protocol=True)
    with RawClient(serving.port) as peer:
        assert peer.at_eof()
    (warning,) = warnings(caplog)
    assert "127.0.0.1" in warning and "trusted_proxies=" in warning
    assert not serving.active
    with pytest.raises(ValueError, match="proxy_protocol= needs trusted_proxies="):
        WSServer(proxy_protocol=True)


@pytest.mark.parametrize("sent", [b"", b"PROXY", v1()[:-1], v2()[:14], v2()[:-1]])
def test_stalled_headers_block_nobody_and_end_in_time(proxied, sent):
    serving = proxied(open_timeout=0.5)
    mute = [RawClient(serving.port) for _ in range(5)]
    for peer in mute:
        peer.sock.sendall(sent)
    peer = through(serving, v1())
    peer.send("x")
    assert peer.recv() == "x"
    assert all(stalled.at_eof() for stalled in mute)


def test_shutdown_does_not_wait_for_headers(proxied):
    serving = proxied()
    mute = [RawClient(serving.port) for _ in range(3)]
    eventually(lambda: serving.active == 3)
    assert serving.server.shutdown(DEADLINE) is True
    assert all(peer.at_eof() for peer in mute)


def test_max_clients_counts_those_that_have_sent_no_header(proxied):
    serving = proxied(max_clients=2)
    mute = [RawClient(serving.port) for _ in range(2)]
    eventually(lambda: serving.active == 2)
    assert through(serving, v1()).status == 503
    for peer in mute:
        peer.close()

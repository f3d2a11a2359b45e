"""WSClient through proxies: HTTP CONNECT and SOCKS5, with and without a password."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

import pytest

from tests.support.tables import table
from tests.support.waiting import DEADLINE
from ws import WSClient
from ws.tunnel import find_proxy
from ws.wire.opening import parse_url


def relay(peer, port):
    """Relay between the client and a port of this machine."""
    server = socket.create_connection(("127.0.0.1", port))

    def back():
        try:
            while True:
                data = server.recv(1 << 16)
                if not data:
                    break
                peer.sock.sendall(data)
        except OSError:
            pass

    thread = threading.Thread(target=back, daemon=True)
    thread.start()
    with server, contextlib.suppress(OSError):
        while True:
            data = peer.sock.recv(1 << 16)
            if not data:
                break
            server.sendall(data)
        server.shutdown(socket.SHUT_RDWR)


def http_proxy(port, heads):
    def script(peer):
        heads.append(peer.read_head())
        peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        relay(peer, port)

    return script


def test_http_proxy(raw, serve):
    serving, heads = serve(), []
    proxy = raw(http_proxy(serving.port, heads)).replace("ws://", "http://me:s%20t@")
    with WSClient(f"ws://far.example:{serving.port}/x", proxy=proxy) as client:
        client.send("a")
        assert client.recv(DEADLINE) == "a"
    lines = heads[0].split("\r\n")
    assert lines[0] == f"CONNECT far.example:{serving.port} HTTP/1.1"
    assert "Proxy-Authorization: Basic bWU6cyB0" in lines


def test_the_environment_names_a_proxy(raw, serve, monkeypatch):
    serving, heads = serve(), []
    proxy = raw(http_proxy(serving.port, heads)).replace("ws://", "http://")
    for name in ("http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("http_proxy", proxy)
    with WSClient(f"ws://far.example:{serving.port}/"):
        pass
    assert len(heads) == 1
    with WSClient(serving.server.url):  # on this machine
        pass
    assert len(heads) == 1
    assert find_proxy(parse_url("ws://near.example/")) == proxy
    monkeypatch.setenv("no_proxy", "near.example")
    assert find_proxy(parse_url("ws://near.example/")) is None


def test_a_proxy_that_refuses(raw):
    answer = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"
    proxy = raw(lambda peer: (peer.read_head(), peer.send(answer))).replace("ws://", "http://")
    with pytest.raises(ConnectionError, match="proxy localhost: it answered 407 Proxy Auth"):
        WSClient("ws://far.example/", proxy=proxy).start()


def test_a_proxy_that_isnt_there():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{sock.getsockname()[1]}"
    with pytest.raises(ConnectionRefusedError, match=r"proxy 127\.0\.0\.1"):
        WSClient("ws://far.example/", proxy=proxy).start()


def socks(port, asked, user=b"", status=0, method=0):
    def script(peer):
        assert peer.read(1) == b"\5"
        methods = peer.read(peer.read(1)[0])
        assert (2 in methods) == bool(user)
        peer.send(bytes((5, method)))
        if method == 2:
            assert peer.read(1) == b"\1"
            asked.append(peer.read(peer.read(1)[0]) + b":" + peer.read(peer.read(1)[0]))
            peer.send(bytes((1, asked[0] != user)))
        assert peer.read(3) == b"\5\1\0"
        kind = peer.read(1)[0]
        asked.append(peer.read({1: 4, 3: 1, 4: 16}[kind]))
        if kind == 3:
            asked[-1] = peer.read(asked[-1][0])
        asked.append(struct.unpack("!H", peer.read(2))[0])
        peer.send(bytes((5, status, 0, 3, 2)) + b"xx\0\1" if port else bytes((5, status, 0, 1)))
        relay(peer, port)

    return script


@table(
    "user, host, address",
    ("a name, which the proxy looks up", b"", "far.example", b"far.example"),
    ("an address", b"", "192.0.2.1", bytes((192, 0, 2, 1))),
    ("of IPv6", b"", "[2001:db8::1]", bytes.fromhex("20010db8000000000000000000000001")),
    ("with a password", b"me:secret", "far.example", b"far.example"),
)
def test_socks_proxy(raw, serve, user, host, address):
    serving, asked = serve(), []
    proxy = raw(socks(serving.port, asked, user, method=2 if user else 0))
    proxy = proxy.replace("ws://", f"socks5://{user.decode()}@" if user else "socks5://")
    with WSClient(f"ws://{host}:{serving.port}/", proxy=proxy) as client:
        client.send("a")
        assert client.recv(DEADLINE) == "a"
    assert asked == [user, address, serving.port][not user :]


@table(
    "user, method, status, why",
    ("refused", "", 0, 5, "connection refused"),
    ("unknown", "", 0, 99, "error 99"),
    ("wants a password", "", 2, 0, "another authentication"),
    ("wants something else", "me:x@", 255, 0, "another authentication"),
    ("a wrong password", "me:x@", 2, 0, "refuses this user"),
)
def test_a_socks_proxy_that_refuses(raw, user, method, status, why):
    proxy = raw(socks(0, [], user[:-1].encode() and b"other:y", status, method))
    with pytest.raises(ConnectionError, match=f"proxy localhost: .*{why}"):
        WSClient("ws://far.example/", proxy=proxy.replace("ws://", f"socks5://{user}")).start()


def test_proxies_of_other_kinds():
    with pytest.raises(ValueError, match="socks5://"):
        WSClient("ws://far.example/", proxy="ftp://x")

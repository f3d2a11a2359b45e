"""Attacks before a WebSocket is open: slow, endless, malformed and forged requests, and TLS."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time

import pytest

from tests.attacks.victim import gone, push
from tests.support.certificates import client_hello, unverified_context
from tests.support.heads import request
from tests.support.rawclient import RawClient
from tests.support.waiting import LATE, eventually

MIB = 1 << 20


def test_slow_handshake(victim):
    """Slowloris: heads that come a byte at a time."""
    server = victim(open_timeout=0.5)
    with server.attacked():
        peers = [server.dial() for _ in range(100)]
        started = time.monotonic()
        while not all(gone(peer) for peer in peers):
            for peer in peers:
                push(peer, b"x")
            assert time.monotonic() - started < 0.5 + LATE, (
                "open_timeout is over, and they are still here"
            )
            time.sleep(0.02)


def test_slow_body(victim):
    """A request's body, a byte at a time or in gigabytes, isn't waited for."""
    server = victim(close_timeout=0.5)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n"
    with server.attacked():
        peers = [server.dial(head) for _ in range(50)]
        assert {peer.status for peer in peers} == {405}
        started = time.monotonic()
        while server.report()["connections"] > 3:
            for number, peer in enumerate(peers):
                push(peer, b"x" if number else bytes(MIB))
            assert time.monotonic() - started < 0.5 + LATE, (
                "close_timeout is over, and they are still here"
            )
            time.sleep(0.02)


def test_slow_download(victim):
    """Peers that ask for a page and don't read it are cut. They share its 8 MiB of memory."""
    server = victim(close_timeout=0.5)
    with server.attacked():
        peers = [server.dial() for _ in range(30)]
        for peer in peers:
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.sock.sendall(b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: server.report()["connections"] == 3, 0.5 + LATE)


def test_trickled_download(victim):
    """Peers that read a page byte by byte don't hold their places for as long as that takes."""
    server = victim(close_timeout=0.5)
    with server.attacked():
        peers = [server.dial() for _ in range(5)]
        for peer in peers:
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.sock.sendall(b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n")

        def trickle():
            for peer in peers:
                peer.sock.recv(1)
            return server.report()["connections"] == 3

        eventually(trickle, 4 * 0.5 + LATE)


@pytest.mark.parametrize("start", [b"GET /", request()[:-2] + b"X: "], ids=["line", "field"])
def test_endless_head(victim, start):
    server = victim()
    with server.attacked():
        peers = [server.dial() for _ in range(20)]
        for peer in peers:
            peer.sock.sendall(start)
        for _ in range(20):
            for peer in peers:
                push(peer, b"x" * (1 << 16))
        eventually(lambda: len(server.report()["lines"]) == 20)
        assert all(" (414, " in line or " (431, " in line for line in server.report()["lines"])


REFUSED = {
    "body to smuggle": (request("/", "Content-Length: 30"), 400),
    "chunks to smuggle": (request("/", "Transfer-Encoding: chunked"), 400),
    "two hosts": (request("/", "Host: other"), 400),
    "two keys": (request("/", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="), 400),
    "two origins": (request("/", "Origin: http://localhost", "Origin: http://x"), 400),
    "bare newline": (request("/", "X: y\nOrigin: http://localhost"), 400),
    "bare return": (request("/", "X: y\rOrigin: http://localhost"), 400),
    "newlines for line ends": (request("/").replace(b"\r\n", b"\n"), 400),
    "NUL": (request("/", "X: y\0"), 400),
    "escape character": (request("/", "X: \x1b[2J"), 400),
    "two ports": (request("/", host="localhost:80:80"), 400),
    "no path": (request("*"), 400),
    "folded field": (request("/", "X: y", " Host: other"), 400),
    "space before colon": (request("/", "Host : other"), 400),
    "not ASCII in a name": (request("/", "Hôst: other"), 400),
    "not ASCII in a subprotocol": (request("/", "Sec-WebSocket-Protocol: ch\xe4t"), 400),
    "newline in a subprotocol": (request("/", "Sec-WebSocket-Protocol: a\r\n b"), 400),
    "not ASCII in the target": (request("/\xff"), 400),
    "upgrade in part of a word": (
        request().replace(b"Connection: Upgrade", b"Connection: notupgrade"),
        400,
    ),
    "a field too many": (request("/", *["X: y"] * 200), 431),
    "a page of another site": (request("/", "Origin: https://evil.example"), 403),
    "a page without an origin": (request("/", "Origin: null"), 403),
}
"""Requests that no honest client makes, and the status of each answer."""


@pytest.mark.parametrize("name", REFUSED)
def test_forged_request(victim, name):
    server = victim()
    head, status = REFUSED[name]
    with server.attacked():
        for _ in range(20):
            assert server.dial(head).status == status


def test_empty_lines(victim):
    """Empty lines before a request are no way to send for ever."""
    server = victim()
    with server.attacked():
        for _ in range(20):
            peer = server.dial(b"\r\n" * 10)
            assert peer.status == 400


def test_page_without_tls(victim, certificate):
    """A page that came without TLS, and so may have been changed on its way, is of another site."""
    server = victim(**certificate.options)
    with server.attacked():
        for scheme, status in (("https", 101), ("http", 403)):
            head = request("/", f"Origin: {scheme}://localhost")
            assert server.dial(head, context=unverified_context()).status == status


def test_pipelined_request(victim):
    """Bytes after a request that isn't an upgrade aren't taken for another one (smuggling)."""
    server = victim()
    with server.attacked():
        peer = server.dial(b"GET /header/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" * 2)
        assert peer.status == 200
        assert peer.at_eof()


@pytest.mark.parametrize("path", ["/header/", "/type/"])
def test_header_injection(victim, path):
    """Line ends that a peer sent don't end a field of a `Response`."""
    server = victim()
    with server.attacked():
        target = path + "a%0d%0aSet-Cookie:%20session=stolen%0d%0a%0d%0a<script>"
        peer = server.dial(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert peer.status == 500
        assert "Set-Cookie" not in peer.response


def test_fields_that_are_slow_to_take_apart(victim):
    """Fields on which regular expressions take quadratic time take linear time (ReDoS)."""
    server = victim(max_head_size=1 << 18)
    spaces = "a" + " " * 60000 + "b"
    fields = [f"Sec-WebSocket-Protocol: {spaces}", f"Connection: {spaces}"]
    fields += [f"Sec-WebSocket-Extensions: {';' * 60000}"]
    with server.attacked():
        for _ in range(3):
            assert server.dial(request("/", *fields)).status == 400


@pytest.mark.parametrize(
    "field",
    [
        "Sec-WebSocket-Extensions: x" + ";a" * 7000,
        "Sec-WebSocket-Extensions: " + "a," * 7000,
        "X-Forwarded-For: " + "10.0.0.1," * 1500,
        "Sec-WebSocket-Protocol: " + "a," * 7000,
    ],
    ids=["parameters", "extensions", "addresses", "subprotocols"],
)
def test_long_lists(victim, field):
    """Lists of thousands of members are refused before they are taken apart."""
    server = victim(compression=True, trusted_proxies=["127.0.0.1", "10.0.0.0/8"])
    head = request("/", field)
    with server.attacked():
        cpu = server.cpu()
        for _ in range(100):
            with RawClient(server.port, head) as peer:
                assert peer.status == 400
        assert server.cpu() - cpu < 0.3, "seconds of CPU time for 100 heads"


def test_tls_stalls(victim, certificate):
    """TLS handshakes that don't begin, break off, or aren't TLS end in time."""
    server = victim(open_timeout=0.5, **certificate.options)
    hello = client_hello()
    with server.attacked():
        starts = [b"", hello[:1], hello[:-1], b"\x16\x03\x01\xff\xff", b"GET / HTTP/1.1\r\n"]
        peers = [server.dial() for _ in range(100)]
        for number, peer in enumerate(peers):
            push(peer, starts[number % len(starts)])
        eventually(lambda: all(gone(peer) for peer in peers), 0.5 + LATE)


def test_tls_renegotiation(victim, certificate):
    """Peers can't renegotiate: a TLS handshake costs a server far more than its peer."""
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("needs the openssl command")
    server = victim(**certificate.options)
    with server.attacked():
        command = [openssl, "s_client", "-tls1_2", "-connect", f"127.0.0.1:{server.port}"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with subprocess.Popen(command, **pipes) as client:
            client.stdin.write(b"R\n")  # s_client's command to renegotiate
            client.stdin.flush()
            output = client.communicate(timeout=10)[0]
        assert b"RENEGOTIATING" in output
        assert b"no renegotiation" in output


def test_log_flood(victim):
    """Peers can't flood the log with warnings."""
    server = victim(max_clients_per_address=40)
    with server.attacked():
        for _ in range(200):
            with RawClient(server.port, request("/", "Origin: https://evil.example")) as peer:
                assert peer.status == 403
        warnings = server.report()["log"].get("WARNING", 0)
        assert 0 < warnings <= 2


def test_log_injection(victim):
    """What peers send can't forge log lines, or send control characters to a terminal."""
    server = victim()
    evil = "https://evil.example\x9b2J\x85ERROR forged \xff"
    with server.attacked():
        assert server.dial(request("/", f"Origin: {evil}")).status == 403
        assert server.dial(request("/", "\x1b[2J: x")).status == 400
        assert server.dial(b"\x1b[2J " + request()).status == 400
        lines = server.report()["lines"]
        assert lines
        assert all(line.isprintable() and line.isascii() for line in lines), lines

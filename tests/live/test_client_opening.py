"""WSClient and the opening handshake: each MUST of RFC 6455 §4.1, redirections, deadlines."""

from __future__ import annotations

import socket
import ssl
import threading
import time

import pytest

from tests.support.certificates import issue, server_context, trusting_context
from tests.support.frames import PONG, TEXT
from tests.support.tables import table
from tests.support.waiting import DEADLINE, LATE, eventually
from ws import HandshakeRefused, WSClient


def connect(url, **options):
    return WSClient(url, proxy=None, **options).start()


# The opening handshake


@table(
    "changes, lines",
    ("4.1 (2) no Upgrade", {"Upgrade": None}, []),
    ("4.1 (2) another one", {"Upgrade": "h2c"}, []),
    ("4.1 (3) Connection", {"Connection": "close"}, []),
    ("4.1 (4) no Accept", {"Sec_WebSocket_Accept": None}, []),
    ("4.1 (4) a wrong one", {"Sec_WebSocket_Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, []),
    ("4.1 (5) an extension", {}, ["Sec-WebSocket-Extensions: permessage-deflate"]),
    ("4.1 (6) a subprotocol", {}, ["Sec-WebSocket-Protocol: chat"]),
)
def test_a_wrong_answer_fails_the_connection(raw, changes, lines):
    """§4.1 MUST Fail the WebSocket Connection; and nothing is sent to such a server."""
    ends = []

    def script(peer):
        peer.accept(*lines, **changes)
        ends.append(peer.sock.recv(100))

    url = raw(script)
    with pytest.raises(HandshakeRefused, match="wrong") as refused:
        connect(url)
    assert refused.value.response.status == 101
    eventually(lambda: ends == [b""])


@table(
    "answer, body",
    ("nothing", b"Content-Length: 0\r\n\r\n", b""),
    ("a page", b"Content-Length: 5\r\n\r\nhello", b"hello"),
    ("up to the end", b"\r\nhello", b"hello"),
    ("of which not all comes", b"Content-Length: 9\r\n\r\nhello", b"hello"),
    ("without end", b"\r\n" + b"x" * 200_000, b"x" * 65536),
)
def test_a_refusal_has_its_content(raw, answer, body):
    url = raw(lambda peer: (peer.read_head(), peer.send(b"HTTP/1.1 503 Busy\r\n" + answer)))
    with pytest.raises(HandshakeRefused, match="503 Busy") as refused:
        connect(url)
    assert refused.value.response.body == body


@table(
    "answer, why",
    ("another protocol", b"SSH-2.0-OpenSSH\r\n", "HTTP/1.1"),
    ("a page without a head", b"<html>", "HTTP/1.1"),
    ("a frame", b"\x81\x05hello", "HTTP/1.1"),
    ("a head without end", b"HTTP/1.1 101 x\r\nX: " + b"x" * 40_000, "over 16384 bytes"),
    ("fields without end", b"HTTP/1.1 101 x\r\n" + b"X: y\r\n" * 9000, "over 16384 bytes"),
    ("interim ones", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000, "over"),
    ("nothing", b"", "ended"),
)
def test_what_is_no_answer(raw, answer, why):
    url = raw(lambda peer: (peer.read_head(), peer.send(answer)))
    with pytest.raises(ConnectionError, match=f"localhost.*{why}"):
        connect(url)


def test_an_answer_in_pieces(raw):
    def script(peer):
        peer.read_head()
        for byte in peer.answer() + b"\x81\x05hello":
            peer.send(bytes([byte]))
        peer.echo_close()

    with connect(raw(script)) as client:
        assert client.recv(DEADLINE) == "hello"


def test_frames_that_come_with_the_answer(raw):
    def script(peer):
        peer.read_head()
        peer.send(peer.answer() + b"\x81\x01a\x89\x00\x82\x01b\x81\x05he")
        assert peer.recv_frame() == (PONG, b"")
        peer.send(b"llo")
        peer.echo_close()

    with connect(raw(script)) as client:
        assert [client.recv(DEADLINE) for _ in range(3)] == ["a", b"b", "hello"]


@table(
    "script",
    ("no answer", lambda peer: peer.at_eof()),
    ("an answer byte by byte", lambda peer: (peer.read_head(), drip(peer, peer.answer()))),
    ("a head without end", lambda peer: drip(peer, b"HTTP/1.1 101 OK\r\nX: " + b"x" * 10_000)),
    ("no TLS", lambda peer: peer.at_eof()),
)
def test_the_handshake_has_a_deadline(raw, script, request):
    url = raw(script)
    if "TLS" in request.node.name:
        url = url.replace("ws:", "wss:")
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match="localhost"):
        connect(url, open_timeout=0.3)
    assert 0.25 < time.monotonic() - begun < LATE


def drip(peer, data):
    for byte in data:
        peer.send(bytes([byte]))
        time.sleep(0.05)


def test_closed_while_it_connects(raw, gate):
    url = raw(lambda peer: (peer.read_head(), gate.wait(DEADLINE), peer.send(peer.answer())))
    client = WSClient(url, proxy=None)
    threading.Timer(0.1, lambda: (client.close(), gate.set())).start()
    with pytest.raises(ConnectionAbortedError, match="closed meanwhile"):
        client.start()


def test_looking_up_a_name_has_a_deadline(monkeypatch, gate):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: gate.wait(DEADLINE))
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match=r"slow\.example"):
        connect("ws://slow.example/", open_timeout=0.2)
    assert time.monotonic() - begun < LATE


def test_a_name_that_does_not_exist():
    with pytest.raises(OSError, match=r"nothing\.invalid"):
        connect("ws://nothing.invalid/")


def test_nobody_listens():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with pytest.raises(ConnectionRefusedError, match=rf"localhost:{port} \(.*127\.0\.0\.1"):
        connect(f"ws://localhost:{port}/")


def test_the_second_address_is_tried_while_the_first_is_silent(raw, monkeypatch):
    """RFC 8305 §5. The first address's queue of connections is full, so it never answers."""
    url = raw(lambda peer: (peer.accept(), peer.echo_close()))
    port = int(url.rpartition(":")[2].strip("/"))
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
    kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
    addresses = [(*kind, full.getsockname()), (*kind, ("127.0.0.1", port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: addresses)
    begun = time.monotonic()
    with connect("ws://two.example/"):
        assert time.monotonic() - begun < LATE
    for sock in (full, *fillers):
        sock.close()


# Over TLS


def test_certificates_are_verified(serve, certificate):
    serving = serve(**certificate.options)
    with pytest.raises(ssl.SSLError, match=f"{serving.server.url}: .*certificate verify failed"):
        WSClient(serving.server.url).start()


def test_a_server_without_tls(serve):
    url = serve().server.url.replace("ws://", "wss://")
    with pytest.raises(ssl.SSLError, match=url):
        WSClient(url).start()


def test_host_names_are_verified(serve, tmp_path):
    serving = serve(**issue(tmp_path, "example.org").options)
    with pytest.raises(OSError, match=r"(?i)hostname|ip address"):
        WSClient(serving.server.url, ssl_context=trusting_context()).start()


# Redirections


def location(target, status="302 Found"):
    def script(peer):
        peer.read_head()
        peer.send(f"HTTP/1.1 {status}\r\nLocation: {target}\r\n\r\n".encode())

    return script


@pytest.mark.parametrize("status", ["301 x", "302 x", "303 x", "307 x", "308 x"])
def test_redirected(raw, status):
    def script(peer):
        peer.accept()
        peer.send_frame(TEXT, peer.head.split(" ")[1].encode())
        peer.echo_close()

    target = raw(script)
    with connect(raw(location(target + "there?x", status))) as client:
        assert client.recv(DEADLINE) == "/there?x"


def test_redirected_for_ever(raw):
    server = []
    with pytest.raises(HandshakeRefused, match="302"):
        connect(raw(lambda peer: (server.append(peer), location("/again")(peer))))
    assert len(server) == 6


@pytest.mark.parametrize("target", ["ftp://x/", "http:///", "#", ""])
def test_redirected_nowhere(raw, target):
    with pytest.raises(HandshakeRefused):
        connect(raw(location(target)))


def test_redirected_from_tls_to_none(raw):
    target = raw(lambda peer: (peer.accept(), peer.echo_close()))
    url = raw(location(target), context=server_context())
    with pytest.raises(HandshakeRefused, match="without TLS"):
        connect(url, ssl_context=trusting_context())


def test_secrets_stay_with_the_server_that_they_are_for(raw):
    heads = []

    def script(peer):
        peer.accept()
        heads.append(peer.head.lower())
        peer.echo_close()

    target = raw(script)
    url = raw(location(target)).replace("ws://", "ws://user:pass@")
    with connect(url, headers={"Cookie": "a=b", "X-Other": "c", "Host": "mine"}):
        pass
    assert "x-other: c" in heads[0]
    for secret in ("cookie", "authorization", "mine"):
        assert secret not in heads[0]

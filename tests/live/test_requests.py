"""HTTP requests: what onrequest gets and answers, and which are refused before it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

import pytest

from tests.support.certificates import unverified_context
from tests.support.frames import TEXT, frame
from tests.support.heads import request
from tests.support.rawclient import RawClient
from tests.support.waiting import DEADLINE, eventually
from ws import Response


def test_request_subprotocol_and_data(serve):
    serving = serve(subprotocols=["v2.chat", "v1.chat"])
    head = request(
        "/a%20b?x=1&y=&x=2", "Sec-WebSocket-Protocol: v1.chat, v2.chat", "Cookie: a=1; b=2"
    )
    peer = RawClient(serving.port, head)
    client = serving.next("open")
    assert "Sec-WebSocket-Protocol: v2.chat" in peer.response
    assert client.subprotocol == "v2.chat"
    assert client.request.method == "GET"
    assert client.request.path == "/a b"
    assert client.request.query == {"x": "2", "y": ""}
    assert client.request.cookies == {"a": "1", "b": "2"}
    assert client.request.headers["HOST"] == "localhost"
    client.data["name"] = "Ada"
    assert client.data == {"name": "Ada"}


def test_onrequest_answers_plain_requests_and_refuses_upgrades(serve):
    serving = serve()

    @serving.server.onrequest
    def decide(request):
        if request.path == "/health":
            return Response(200, "fine", {"X-Load": "low"})
        if request.path == "/private":
            return Response(401, "who are you?")
        if request.path == "/cookie":
            return Response(101, headers={"Set-Cookie": "id=1"})
        if request.path == "/bug":
            raise ValueError("a bug")
        return None

    health = b"%s /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with RawClient(serving.port, health % b"GET") as peer:
        assert peer.status == 200
        assert "Content-Length: 4\r\n" in peer.response and "X-Load: low\r\n" in peer.response
        assert peer.read(4) == b"fine" and peer.at_eof()
    with RawClient(serving.port, health % b"HEAD") as peer:
        assert peer.status == 200 and "Content-Length: 4\r\n" in peer.response and peer.at_eof()
    for path, status in (("/private", 401), ("/bug", 500), ("/", 101)):
        with RawClient(serving.port, request(path)) as peer:
            assert peer.status == status
    with RawClient(serving.port, request("/cookie")) as peer:
        assert peer.status == 101 and "Set-Cookie: id=1\r\n" in peer.response


@pytest.mark.parametrize(
    "head, status",
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 426),
        (b"GET / HTTP/1.0\r\n\r\n", 426),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"nonsense\r\n\r\n", 400),
        (request("/", "Origin: https://elsewhere.example"), 403),
    ],
)
def test_refusals(serve, head, status):
    serving = serve()
    with RawClient(serving.port, head) as peer:
        assert peer.status == status
        peer.sock.sendall(b"x" * 100000)
        eventually(lambda: not serving.active or peer.sock.close())
    assert serving.events.empty()


def test_what_onrequest_found_out_stays_with_the_client(serve):
    serving = serve()
    serving.server.onrequest(lambda request: request.data.update(user="ada"))
    _, client = serving.connect()
    assert client.data == {"user": "ada"}


def test_frames_right_behind_the_request(serve):
    peer = RawClient(serve().port, request() + frame(TEXT, b"early"))
    assert peer.recv() == "early"


# While onrequest decides, or waits for a thread

RESET = struct.pack("ii", 1, 0)
PAGE = b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def undecided(serve, gate):
    """Serve requests that wait for the gate: one blocks the only thread, others wait for it."""

    def start(**options):
        serving = serve(threads=1, **options)
        asked = threading.Semaphore(0)

        @serving.server.onrequest
        def decide(request):
            asked.release()
            gate.wait(DEADLINE)
            return Response(200, "a page") if request.path == "/page" else None

        context = unverified_context() if "cert" in options else None
        peers = []
        for path in ("/blocks", "/waits"):
            peers.append(RawClient(serving.port, context=context))
            peers[-1].sock.sendall(request(path))
        assert asked.acquire(timeout=DEADLINE)
        eventually(lambda: serving.active == 2)
        return serving, peers

    return start


def test_a_request_is_decided_on_in_time_or_refused(undecided, gate):
    serving, peers = undecided(open_timeout=0.5)
    for peer in peers:
        peer.handshake(b"")
        assert peer.status == 503
        peer.close()
    eventually(lambda: not serving.active, what="though the threads are still taken")
    gate.set()
    with RawClient(serving.port, request("/")) as peer:
        assert peer.status == 101
    assert serving.next("open").request.path == "/", "nothing is left of the others"


def leave(peer):
    peer.close()


def reset(peer):
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    peer.close()


def notify(peer):
    """End TLS, or TCP, in order."""
    unwrap = getattr(peer.sock, "unwrap", None)
    if unwrap:
        peer.sock.settimeout(0.01)
        with contextlib.suppress(OSError):  # it waits for the server's answer
            unwrap()
    peer.close()


@pytest.mark.parametrize("end", [leave, reset, notify])
@pytest.mark.parametrize("tls", [False, True])
def test_a_peer_that_leaves_before_the_decision_is_noticed(undecided, certificate, tls, end):
    serving, peers = undecided(open_timeout=DEADLINE, **(certificate.options if tls else {}))
    for peer in peers:
        end(peer)
    eventually(lambda: not serving.active)


def test_a_peer_that_leaves_just_as_it_is_accepted(serve, gate, monkeypatch):
    """The leader finds that it has left, and a worker accepts it before the leader acts on it."""
    serving = serve()

    @serving.server.onrequest
    def decide(request):
        gate.wait(DEADLINE)

    peer = RawClient(serving.port)
    receive = socket.socket.recv

    def receive_slowly(sock, size, flags=0):
        if flags & socket.MSG_PEEK and not gate.is_set():
            gate.set()
            peer.read_until(b"\r\n\r\n")
        return receive(sock, size, flags)

    monkeypatch.setattr(socket.socket, "recv", receive_slowly)
    peer.sock.sendall(request("/"))
    peer.sock.shutdown(socket.SHUT_WR)
    client = serving.next("open")
    assert serving.next("close") is client
    assert not serving.server.clients


def test_frames_that_come_before_the_decision_are_not_lost(undecided, gate):
    serving, peers = undecided()
    for peer in peers:
        peer.send("early")
        peer.send("too early")
    gate.set()
    for peer in peers:
        peer.handshake(b"")
        assert [peer.recv(), peer.recv()] == ["early", "too early"]
        peer.send("later")
        assert peer.recv() == "later"
    eventually(lambda: serving.server.stats()["messages_in"] == 6)


def test_a_page_can_be_had_after_a_half_close(undecided, gate):
    serving, _ = undecided()
    peer = RawClient(serving.port)
    peer.sock.sendall(PAGE)
    peer.sock.shutdown(socket.SHUT_WR)
    eventually(lambda: serving.active == 3)
    gate.set()
    assert peer.read_until(b"a page").startswith(b"HTTP/1.1 200")

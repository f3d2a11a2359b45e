"""HTTP requests: what onrequest gets and answers, and which are refused before it."""

from __future__ import annotations

import pytest

from tests.support.frames import TEXT, frame
from tests.support.heads import request
from tests.support.rawclient import RawClient
from tests.support.waiting import eventually
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

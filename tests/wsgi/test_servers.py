"""Every WSGI server with every framework that it can serve: what works on a port works here."""

from __future__ import annotations

import re
import zlib

import pytest

from tests.support.frames import BINARY, TEXT, close_frame, frame
from tests.support.heads import plain, request
from tests.support.rawclient import RawClient
from tests.support.waiting import eventually
from tests.wsgi import programs

MIB = 1 << 20
OFFER = "Sec-WebSocket-Extensions: permessage-deflate"
TROUBLE = re.compile(r"Traceback|\bERROR\b|[Ee]xception|Bad file descriptor|Broken pipe")
"""What a server may not write about any of this."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((server, app), id=name, marks=pytest.mark.xdist_group(name))
        for server, app in programs.MATRIX
        for name in [f"{server.__name__}-{app}"]
    ],
)
def site(request):
    server, app = request.param
    with programs.Site(server(app)) as site:
        yield site
        assert not TROUBLE.search(site.output()), site.output()


def ask(site, head):
    """Return the status and the head of an answer. Read all of it, or a server may complain."""
    with RawClient(site.port, head) as client:
        length = re.search(r"(?i)^content-length: (\d+)", client.response, re.MULTILINE)
        client.read(int(length[1])) if length else client.at_eof()
        return client.status, client.response


def test_it_echoes_and_closes(site):
    with site.connect() as client:
        for message in ("hällo", b"\0\1", ""):
            client.send(message)
            assert client.recv() == message
        client.send_frames(close_frame(1000, "bye"))
        assert client.recv() == (1000, "bye")
        assert client.at_eof()


def test_a_mebibyte_each_way(site):
    with site.connect() as client:
        message = bytes(range(256)) * (MIB // 256)
        client.send(message)
        assert client.recv() == message


def test_frames_that_come_with_the_request_are_not_lost(site):
    early = frame(TEXT, b"one") + frame(BINARY, b"\0" * 300) + frame(TEXT, b"three")[:4]
    with RawClient(site.port, request("/open") + early) as client:
        assert client.status == 101
        assert [client.recv(), client.recv()] == ["one", b"\0" * 300]


def test_the_request_may_come_in_pieces(site):
    head = request("/open")
    with RawClient(site.port) as client:
        client.sock.sendall(head[:30])
        client.sock.sendall(head[30:-2])
        client.handshake(head[-2:] + frame(TEXT, b"early"))
        assert (client.status, client.recv()) == (101, "early")


def test_compressed(site):
    text = b"the same again and again, " * 100
    with site.connect("/open", OFFER) as client:
        compressor = zlib.compressobj(wbits=-15)
        squeezed = compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)
        client.send_frames(frame(TEXT, squeezed[:-4], rsv=4))
        first, length = client.read(2)
        assert first == 0xC1 and length < 126
        assert zlib.decompressobj(-15).decompress(client.read(length)) == text


def test_a_page_of_another_site_is_refused_by_the_application(site):
    status, response = ask(site, request("/open", "Origin: http://evil.example"))
    assert status == 403
    assert "Upgrade" not in response
    with site.connect("/open", "Origin: http://localhost"):
        pass


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (plain("GET /open HTTP/1.1", "Host: localhost"), 426),
        (request("/open").replace(b"Version: 13", b"Version: 8"), 426),
        (request("/open").replace(b"Key: ", b"Key: x"), 400),
        (request("/open?health=1"), 200),
        (plain("GET /open?health=1 HTTP/1.1", "Host: localhost"), 200),
    ],
    ids=["plain", "version", "key", "onrequest", "onrequest-plain"],
)
def test_what_is_no_handshake_gets_the_answer_of_a_port(site, head, status):
    if b"Upgrade" not in head and site.is_flask:
        status = 400  # Flask's own: a rule with websocket=True takes no plain request
    assert ask(site, head)[0] == status


def test_only_who_has_logged_in_may_connect(site):
    assert ask(site, request("/ws"))[0] == 401
    with site.connect("/ws", site.log_in()) as client:
        assert "Set-Cookie: seen=yes" in client.response
        client.send("who")
        assert client.recv() == "ann"


def test_a_view_sends_to_everybody(site):
    eventually(lambda: site.state()["clients"] == 0)
    with site.connect() as one, site.connect() as two:
        assert site.notify("news") == 2
        assert one.recv() == two.recv() == "news"
    eventually(lambda: site.state()["clients"] == 0)


def test_a_client_holds_no_worker(site):
    clients = [site.connect() for _ in range(20)]
    threads = site.state()["threads"]
    clients += [site.connect() for _ in range(20)]
    assert site.state()["threads"] <= threads + 2
    for client in clients:
        client.send("still here")
    assert {client.recv() for client in clients} == {"still here"}
    for client in clients:
        client.close()
    eventually(lambda: site.state()["connections"] == 0)

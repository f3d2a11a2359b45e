"""The end of TCP: when a peer ends only its own direction, reads slowly, or keeps TCP open."""

from __future__ import annotations

import queue
import socket
import ssl
import threading
import time

import pytest

from tests.support.certificates import trusting_context
from tests.support.frames import close_frame
from tests.support.processes import listens
from tests.support.rawclient import RawClient
from tests.support.waiting import DEADLINE, LATE, eventually
from ws import Response

# Closing handshakes


@pytest.mark.parametrize("closes", ["client", "server", "both at once"])
def test_the_end_of_tls_is_the_end(serve, certificate, closes):
    """A peer's close_notify after the close frames is enough, though it keeps TCP open."""
    serving = serve(close_timeout=60, **certificate.options)
    peer, client = serving.connect(context=trusting_context())
    if closes == "server":
        serving.server.close(client)
        assert peer.recv() == (1000, "")
    peer.send_frames(close_frame(1000))
    if closes == "client":
        assert peer.recv() == (1000, "")
    try:
        below = peer.sock.unwrap()  # keeps TCP open
    except ssl.SSLError:  # the answer is still to be read, but the close_notify has been sent
        assert closes == "both at once"
        below = peer.sock
    eventually(lambda: not serving.active)
    assert serving.next("close") is client
    assert (client.close_code, client.close_reason) == (1000, "")
    below.close()


def read_slowly(peer, size):
    """Read so many bytes, 4 MiB in each second."""
    while size:
        read = len(peer.buffer) or len(peer.sock.recv(min(size, 1 << 16)))
        peer.buffer = b""
        assert read
        size -= read
        time.sleep(read / (4 << 20))


def test_a_slow_reader_gets_all_that_was_sent_before_the_close_frame(serve):
    serving = serve(max_queue_size=64 << 20, close_timeout=1.5)
    peer, client = serving.connect()
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    for _ in range(16):
        assert serving.server.send(client, "x" * (1 << 20))
    started = time.monotonic()
    serving.server.close(client)
    read_slowly(peer, 16 * (10 + (1 << 20)))
    assert peer.recv() == (1000, "")
    peer.send_frames(close_frame(1000))
    assert serving.next("close") is client
    assert client.close_code == 1000
    assert time.monotonic() - started > 2 * 1.5


# Shutdown


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("closes", ["client", "server", "shutdown"])
def test_shutdown_does_not_wait_for_the_end_of_tcp(serve, certificate, closes, tls):
    """When both close frames have been sent, all has been said (RFC 6455 §7.1.1)."""
    options, context = (certificate.options, trusting_context()) if tls else ({}, None)
    serving = serve(close_timeout=60, **options)
    peer, client = serving.connect(context=context)
    if closes == "client":
        peer.send_frames(close_frame(1000))
        assert peer.recv() == (1000, "")
    elif closes == "server":
        serving.server.close(client)
        assert peer.recv() == (1000, "")
        peer.send_frames(close_frame(1000))
    if closes != "shutdown":
        assert serving.next("close") is client
    result = queue.Queue()
    threading.Thread(target=lambda: result.put(serving.server.shutdown(DEADLINE))).start()
    if closes == "shutdown":
        assert peer.recv() == (1001, "server is shutting down")
        peer.send_frames(close_frame(1001))
    assert result.get(timeout=DEADLINE + LATE) is True
    assert peer.at_eof()


def test_shutdown_does_not_wait_for_peers_that_say_nothing(serve):
    serving = serve(close_timeout=60)
    mute = [RawClient(serving.port) for _ in range(3)]
    eventually(lambda: serving.active == 3)
    assert serving.server.shutdown(DEADLINE) is True
    for peer in mute:
        assert peer.read_until(b"\r\n").startswith(b"HTTP/1.1 503 ")


def test_shutdown_waits_for_what_is_queued_for_a_client_that_has_closed(serve):
    serving = serve(max_queue_size=64 << 20, close_timeout=60)
    peer, client = serving.connect()
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    for _ in range(8):
        assert serving.server.send(client, "x" * (1 << 20))
    peer.send_frames(close_frame(1000))
    assert serving.next("close") is client
    result = queue.Queue()
    threading.Thread(target=lambda: result.put(serving.server.shutdown(2 * DEADLINE))).start()
    eventually(lambda: not listens(serving.port))
    read_slowly(peer, 8 * (10 + (1 << 20)))
    assert peer.recv() == (1000, "")
    assert peer.at_eof()
    assert result.get(timeout=DEADLINE) is True


# Pages

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("blocks", [False, True], ids=["inline", "in a worker"])
def test_a_client_that_ends_its_sending_direction_gets_the_whole_page(
    serve, certificate, gate, tls, blocks
):
    options, context = (certificate.options, trusting_context()) if tls else ({}, None)
    serving = serve(**options, close_timeout=60)
    page = "0123456789abcdef" * (1 << 19)

    @serving.server.onrequest
    def answer(request):
        if blocks:
            gate.wait(DEADLINE)
        return Response(200, page)

    with RawClient(serving.port, context=context) as peer:
        peer.sock.sendall(GET)
        socket.socket.shutdown(peer.sock, socket.SHUT_WR)
        gate.set()
        peer.read_until(b"\r\n\r\n")
        assert peer.read(len(page)) == page.encode()
        assert peer.at_eof()
    eventually(lambda: not serving.active)


def test_a_client_that_has_left_gets_no_page(serve):
    serving = serve(close_timeout=60)
    serving.server.onrequest(lambda request: Response(200, "x" * (8 << 20)))
    with RawClient(serving.port, GET) as peer:
        peer.sock.shutdown(socket.SHUT_WR)
    eventually(lambda: not serving.active)


def test_a_slow_reader_gets_the_whole_page(serve):
    serving = serve(close_timeout=1.5)
    size = 16 << 20
    serving.server.onrequest(lambda request: Response(200, "x" * size))
    started = time.monotonic()
    with RawClient(serving.port) as peer:
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        peer.handshake(GET)
        read_slowly(peer, size)
        assert peer.at_eof()
    assert time.monotonic() - started > 2 * 1.5

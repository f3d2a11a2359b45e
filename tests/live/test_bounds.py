"""Every limit, reached from outside: one client gets a clear error, others lose nothing."""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import struct
import sys

import pytest

from tests.support.frames import frame
from tests.support.heads import request
from tests.support.rawclient import RawClient, connect
from tests.support.waiting import DEADLINE, eventually
from ws.engine.connection import Connection
from ws.engine.loop import Loop
from ws.engine.poll import EpollPoller


def test_a_message_is_refused_by_its_declared_length(serve):
    peer, client = serve(max_message_size=1000).connect()
    peer.send(b"x" * 1000)
    assert peer.recv() == b"x" * 1000
    peer.sock.sendall(b"\x82\xfe" + struct.pack("!H", 1001))
    assert peer.recv() == (1009, "message of over 1000 bytes")
    peer.close()


def test_declared_but_never_sent_gigabytes_cost_nothing(serve):
    peer, _ = serve().connect()
    peer.sock.sendall(b"\x82\xff" + struct.pack("!Q", 1 << 40))
    assert peer.recv()[0] == 1009


def test_fragments_together_are_bounded(serve):
    peer, _ = serve(max_message_size=1000).connect()
    peer.send_frames(frame(2, b"x" * 600, fin=False), frame(0, b"x" * 401))
    assert peer.recv()[0] == 1009


def test_empty_fragments_are_counted(serve):
    peer, _ = serve(max_fragments=100).connect()
    peer.send_frames(frame(2, fin=False), *[frame(0, fin=False)] * 100)
    assert peer.recv() == (1009, "message of over 100 fragments")


@pytest.mark.parametrize(
    "head, status",
    [
        (request("/", "X: " + "x" * 2000), 431),
        (request("/", *["X: x"] * 200), 431),
        (request("/" + "x" * 2000), 414),
        (b"GET /" + b"x" * 5000, 414),
        (request()[:-2] + b"X: " + b"x" * 5000, 431),
    ],
)
def test_heads_are_bounded(serve, head, status):
    with RawClient(serve(max_head_size=1500).port, head) as peer:
        assert peer.status == status


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_open_timeout(serve, sent):
    peer = RawClient(serve(open_timeout=0.2).port)
    peer.sock.sendall(sent)
    assert peer.at_eof()


def test_max_clients(serve, caplog):
    serving = serve(max_clients=2)
    peers = [serving.connect()[0] for _ in range(2)]
    with RawClient(serving.port, request()) as refused:
        assert refused.status == 503
    with RawClient(serving.port, request()) as refused:
        assert refused.status == 503
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "max_clients=2" in record.getMessage()
    peers[0].close()
    serving.next("close")
    eventually(lambda: serving.active < 2)
    assert serving.connect()


def test_max_clients_per_address(serve):
    serving = serve(max_clients_per_address=1, host="")
    serving.connect()
    with RawClient(serving.port, request()) as refused:
        assert refused.status == 429
    assert serving.connect(address="::1"), "another address isn't concerned"


def test_far_too_many_connections_are_just_closed(serve, monkeypatch):
    monkeypatch.setattr("ws.admission.REFUSED_SPARE", 3)
    serving = serve(max_clients=1)
    kept, _ = serving.connect()
    mute = [RawClient(serving.port) for _ in range(20)]
    assert all(peer.at_eof() for peer in mute[3:])
    assert serving.active <= 4
    kept.send("x")
    assert kept.recv() == "x"


def test_a_connection_that_the_system_will_not_poll_never_was(serve, monkeypatch):
    serving = serve(max_clients_per_address=1, open_timeout=0.5)
    watch = Loop.watch
    refusals = iter((True,))

    def refuse_once(loop, source, *changes, **named):
        if isinstance(source, Connection) and next(refusals, False):
            raise OSError(errno.ENOSPC, "no more watches")
        watch(loop, source, *changes, **named)

    monkeypatch.setattr(Loop, "watch", refuse_once)
    assert RawClient(serving.port).at_eof()
    assert RawClient(serving.port).at_eof(), "its deadline is later than the first one's"
    eventually(lambda: not serving.active)
    serving.connect()
    with RawClient(serving.port, request()) as refused:
        assert refused.status == 429


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="epoll alone runs out of watches")
def test_a_descriptor_that_epoll_refuses_is_closed(serve, certificate, monkeypatch):
    serving = serve(**certificate.options)

    def full(*arguments):
        raise OSError(errno.ENOSPC, "no more watches")

    with monkeypatch.context() as patch:
        patch.setattr(EpollPoller, "change", full)
        assert RawClient(serving.port).at_eof()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX resource limits")
def test_no_descriptors_left_to_accept_with(serve, caplog):
    import resource

    serving = serve()
    peer, _ = serving.connect()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    late = socket.socket()
    hoard = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        while True:
            try:
                hoard.append(os.dup(late.fileno()))
            except OSError:
                break
        late.connect(("127.0.0.1", serving.port))
        eventually(lambda: [r for r in caplog.records if "can't accept" in r.getMessage()])
        peer.send("the others go on")
        assert peer.recv() == "the others go on"
    finally:
        for descriptor in hoard:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    late.settimeout(DEADLINE)
    late.sendall(request())
    assert late.recv(12) == b"HTTP/1.1 101"


@pytest.mark.parametrize(
    "origins, origin, status",
    [
        ([], "http://localhost", 101),
        ([], "http://localhost:81", 403),
        ([], "null", 403),
        ("null", "null", 101),
        (["https://a.example"], "https://a.example", 101),
        (["https://a.example"], "https://b.example", 403),
        ("*", "https://b.example", 101),
    ],
)
def test_origins(serve, caplog, origins, origin, status):
    serving = serve(origins=origins)
    for _ in range(3):
        with RawClient(serving.port, request("/", "Origin: " + origin)) as peer:
            assert peer.status == status
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == (status == 403), "rate-limited"
    for record in warnings:
        assert origin in record.getMessage() and "origins=" in record.getMessage()


def test_nothing_is_configured_at_import(program):
    process = program(
        "import logging, signal, sys, threading\n"
        "import ws\n"
        "assert not logging.root.handlers and threading.active_count() == 1\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
        "assert [type(h).__name__ for h in logging.getLogger('ws').handlers] == ['NullHandler']\n"
    )
    assert process.communicate() == (b"", b"")
    assert process.returncode == 0


def test_an_error_in_serving_one_client_is_its_own(serve, monkeypatch, caplog):
    serving = serve()
    peer, client = serving.connect()
    other = connect(serving.port)

    class Broken:
        close_sent = holding = False
        more = False

        def feed(self, data):
            raise MemoryError

        def close(self, code, reason):
            return b""

    serving.connection(client).protocol = Broken()
    peer.send("x")
    assert serving.next("open")
    assert serving.next("close") is client
    assert client.close_reason == "internal error"
    other.send("x")
    assert other.recv() == "x"

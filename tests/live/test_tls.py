"""TLS: the same server; one client's handshake delays nobody else."""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import suppress

import pytest

from tests.support.certificates import issue, trusting_context
from tests.support.frames import PING, TEXT, close_frame, frame
from tests.support.heads import request
from tests.support.rawclient import RawClient, connect
from tests.support.waiting import DEADLINE, eventually
from ws import WSServer
from ws.engine.connection import READ_BYTES
from ws.engine.listen import Listener
from ws.wire.frames import BINARY


@pytest.fixture
def context():
    return trusting_context()


@pytest.fixture
def tls(serve, certificate):
    return lambda **options: serve(**certificate.options, **options)


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 70000, 900_000])
def test_echo(tls, context, size):
    peer, _ = tls().connect(context=context)
    for _ in range(3):
        peer.send("x" * size)
        assert peer.recv() == "x" * size


def test_a_client_is_a_tls_socket(tls, context):
    peer, client = tls().connect(context=context)
    assert isinstance(client, ssl.SSLSocket) and isinstance(client, socket.socket)
    assert client.version() in ("TLSv1.2", "TLSv1.3")
    assert client.getpeername() == peer.sock.getsockname()
    assert client.request.secure is True


def test_a_context_of_ones_own(serve, certificate, context):
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(*certificate)
    peer, _ = serve(ssl_context=own).connect(context=context)
    peer.send("x")
    assert peer.recv() == "x"


def test_large_messages_through_a_full_queue(tls, context):
    serving = tls(max_queue_size=1 << 30)
    peer, client = serving.connect(context=context)
    for n in range(20):
        serving.server.send(client, bytes([n]) * 1_000_000)
        serving.server.send(client, "small")
    for n in range(20):
        assert peer.recv() == bytes([n]) * 1_000_000
        assert peer.recv() == "small"


def test_closing_is_clean(tls, context):
    serving = tls()
    peer, client = serving.connect(context=context)
    peer.send_frames(close_frame(1000, "bye"))
    assert peer.recv() == (1000, "bye")
    assert peer.sock.recv(1) == b"", "close_notify, then FIN"
    assert serving.next("close") is client
    assert client.close_code == 1000
    peer.close()
    eventually(lambda: not serving.active)


@pytest.mark.parametrize("fault", [False, True], ids=["close_notify", "fault"])
def test_an_end_that_comes_with_a_full_record_is_noticed(tls, context, fault):
    serving = tls(ping_interval=None)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", serving.port), DEADLINE) as sock:

        def converse(operation, *arguments):
            while True:
                with suppress(ssl.SSLWantReadError):
                    return operation(*arguments)
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(1 << 16))

        converse(session.do_handshake)
        session.write(request())
        assert converse(session.read, 1 << 16).startswith(b"HTTP/1.1 101 ")
        client = serving.next("open")
        session.write(frame(BINARY, bytes(READ_BYTES - 8)))
        if fault:
            outgoing.write(b"\x17\x03\x03\x00\x20" + bytes(32))
        else:
            with suppress(ssl.SSLWantReadError):
                session.unwrap()
        sock.sendall(outgoing.read())
        assert serving.next("close") is client
        assert client.close_code == 1006
        assert serving.server.stats()["messages_in"] == 1, "what came before it counts"


def test_stalled_handshakes_block_nobody_and_end_in_time(tls, context):
    serving = tls(open_timeout=0.5)
    mute = [RawClient(serving.port) for _ in range(20)]
    mute[0].sock.sendall(b"\x16\x03\x01\x02\x00\x01")
    peer, _ = serving.connect(context=context)
    peer.send("x")
    assert peer.recv() == "x"
    assert all(stalled.at_eof() for stalled in mute)


def test_peers_that_reset_tcp_before_they_are_accepted(tls, caplog, gate, monkeypatch):
    caplog.set_level("INFO", "ws")
    accept = Listener.on_readable
    monkeypatch.setattr(Listener, "on_readable", lambda self: gate.wait(DEADLINE) and accept(self))
    serving = tls()
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", serving.port), DEADLINE) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gate.set()
    with RawClient(serving.port, request(), context=trusting_context()) as peer:
        assert peer.status == 101
    eventually(lambda: not serving.active)
    assert {record.levelname for record in caplog.records} <= {"INFO"}


def test_plain_text_on_the_tls_port(tls, caplog):
    caplog.set_level("INFO", "ws")
    serving = tls()
    with RawClient(serving.port) as peer:
        peer.sock.sendall(request())
        try:
            while peer.sock.recv(1000):
                pass
        except ConnectionError:
            pass
    eventually(lambda: not serving.active)
    (record,) = [record for record in caplog.records if record.name == "ws"]
    assert record.levelname == "INFO" and "TLS handshake failed" in record.getMessage()


def test_tls_on_the_plain_port(serve, context, caplog):
    serving = serve()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        RawClient(serving.port, context=context)
    eventually(lambda: not serving.active)
    assert not [record for record in caplog.records if record.levelname != "INFO"]


def test_certificates_reload_without_dropping_clients(serve, tmp_path, context):
    context.check_hostname = False
    cert, key = issue(tmp_path, "old.example")
    serving = serve(cert=cert, key=key)
    old, _ = serving.connect(context=context)
    issue(tmp_path, "new.example")
    serving.server.reload_cert()
    new, _ = serving.connect(context=context)
    names = [peer.sock.getpeercert()["subjectAltName"][0][1] for peer in (old, new)]
    assert names == ["old.example", "new.example"]
    for peer in (old, new):
        peer.send("x")
        assert peer.recv() == "x"
    (tmp_path / "key.pem").write_text("not a key")
    with pytest.raises(OSError, match=r"key\.pem"):
        serving.server.reload_cert()
    assert serving.connect(context=context), "the last good one stays in use"


def test_a_certificate_that_cannot_be_used_is_an_error_at_once(tmp_path):
    cert, _ = issue(tmp_path)
    for path in (str(tmp_path / "missing.pem"), cert):
        with pytest.raises(OSError, match=f"can't use {path}: "):
            WSServer(cert=path)
    with pytest.raises(ValueError, match="key= needs cert="):
        WSServer(key=path)


def test_reload_needs_a_certificate():
    with pytest.raises(ValueError, match="cert="):
        WSServer().reload_cert()


def test_a_peer_that_goes_on_sending_gets_the_close_frame_all_the_same(tls, context):
    """TCP is not reset while it is still reading (RFC 6455 §7.1.1)."""
    serving = tls()
    for _ in range(10):
        peer = connect(serving.port, context=context)
        peer.send_frames(frame(TEXT, b"hello"), frame(0xF))
        for octet in frame(PING) * 20:
            peer.sock.sendall(bytes([octet]))
        assert [peer.recv(), peer.recv()] == ["hello", (1002, "reserved opcode 0xf")]
        assert peer.sock.recv(1) == b""


def test_a_tls_client_that_vanishes(tls, context):
    serving = tls()
    peer, client = serving.connect(context=context)
    socket.socket.close(peer.sock)
    assert serving.next("close") is client
    assert client.close_code == 1006


def test_the_handshake_over_tls(tls, context):
    serving = tls()
    with connect(serving.port, context=context) as peer:
        assert peer.status == 101

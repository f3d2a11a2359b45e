"""Where a server listens: hosts, ports, Unix sockets, and sockets of others."""

from __future__ import annotations

import socket

import pytest

from tests.support.processes import listens
from tests.support.rawclient import connect
from ws import WSServer


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
def test_unix_socket(serve, tmp_path):
    path = str(tmp_path / "ws.sock")
    for _ in range(2):  # the second server replaces the stale socket file
        serving = serve(unix=path)
        with connect(0, unix=path) as peer:
            peer.send("x")
            assert peer.recv() == "x"
        assert serving.server.url == "ws+unix://" + path
        serving.server.shutdown()
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)


def test_a_socket_that_listens_already(serve):
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(5)
    serving = serve(sock=sock)
    assert serving.port == sock.getsockname()[1]
    peer, _ = serving.connect()
    peer.send("x")
    assert peer.recv() == "x"


def test_empty_host_serves_ipv4_and_ipv6(serve):
    serving = serve(host="")
    for address in ("127.0.0.1", "::1"):
        peer, client = serving.connect(address=address)
        assert client.getpeername()[0] == address


def test_a_port_that_is_taken_is_a_clear_error(serve):
    serving = serve()
    with pytest.raises(OSError, match=f"can't listen on 127.0.0.1 port {serving.port}"):
        WSServer("127.0.0.1", serving.port).start()


def test_a_host_that_is_not_found_is_a_clear_error():
    for host in ("no.such.host.invalid", "a..b"):
        with pytest.raises(OSError, match=f"can't find '{host}'"):
            WSServer(host, 0).start()
    with pytest.raises(ValueError, match="port must be from 0 to 65535"):
        WSServer(port=70000)


def test_context_manager():
    with WSServer("127.0.0.1", 0) as server:
        connect(server.port)
    assert not listens(server.port)
    with pytest.raises(RuntimeError):
        server.start()

"""Where a server listens: hosts, ports, Unix sockets, and sockets of others."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import time
from contextlib import ExitStack, suppress

import pytest

from tests.support.processes import listens
from tests.support.rawclient import connect
from ws import WSServer
from ws.engine.listen import Listener
from ws.engine.loop import Loop

unix_only = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")


@unix_only
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


@unix_only
@pytest.mark.parametrize("kind", ["file", "folder", "link", "live", "full", "datagram"])
def test_a_unix_socket_replaces_nothing_else(tmp_path, kind):
    path = tmp_path / "ws.sock"
    kept = []
    why = "Address already in use"
    if kind == "file":
        path.write_text("precious")
        why = "it isn't a socket"
    elif kind == "folder":
        path.mkdir()
        why = "it isn't a socket"
    elif kind == "link":
        path.symlink_to(tmp_path / "precious")
        why = "it isn't a socket"
    else:
        datagram = kind == "datagram"
        kept.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM if datagram else 1))
        kept[0].bind(str(path))
        if not datagram:
            kept[0].listen(0)
    if kind == "full":
        for _ in range(3):
            kept.append(socket.socket(socket.AF_UNIX))
            kept[-1].setblocking(False)
            with suppress(BlockingIOError):
                kept[-1].connect(str(path))
    before = os.lstat(str(path))
    with pytest.raises(OSError, match=f"can't listen on {path}: {why}"):
        WSServer(unix=str(path)).start()
    after = os.lstat(str(path))
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert os.listdir(str(tmp_path)) == ["ws.sock"]
    for sock in kept:
        sock.close()


@unix_only
@pytest.mark.parametrize("by", ["a file", "a socket", "a server", "nothing"])
def test_a_unix_socket_that_was_replaced_is_left_alone(serve, tmp_path, by):
    path = tmp_path / "ws.sock"
    serving = serve(unix=str(path))
    path.unlink()
    if by == "a file":
        path.write_text("precious")
    elif by == "a socket":
        replacing = socket.socket(socket.AF_UNIX)
        replacing.bind(str(path))
    elif by == "a server":
        replacing = serve(unix=str(path))
    serving.server.shutdown()
    assert path.exists() == (by != "nothing")
    if by == "a server":
        assert connect(0, unix=str(path))


@unix_only
def test_a_unix_socket_is_gone_when_the_server_is(serve, tmp_path, monkeypatch):
    monkeypatch.chdir(str(tmp_path))
    serving = serve(unix="ws.sock")
    assert os.listdir(str(tmp_path)) == ["ws.sock"]
    monkeypatch.chdir("/")
    serving.server.shutdown()
    assert os.listdir(str(tmp_path)) == []


@unix_only
def test_a_start_that_fails_leaves_no_unix_socket(tmp_path, monkeypatch):
    def fail(loop):
        raise OSError("no epoll")

    server = WSServer(unix=str(tmp_path / "ws.sock"))
    with monkeypatch.context() as patch:
        patch.setattr("ws.engine.loop.Loop.__init__", fail)
        with pytest.raises(OSError, match="no epoll"):
            server.start()
    assert os.listdir(str(tmp_path)) == []


@unix_only
def test_a_folder_that_somebody_else_has_locked_is_used_all_the_same(tmp_path, serve, monkeypatch):
    import fcntl

    monkeypatch.setattr("ws.bind.LOCK_SECONDS", 0.1)
    path = str(tmp_path / "ws.sock")
    lock = os.open(str(tmp_path), os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    serve(unix=path)
    assert connect(0, unix=path)
    os.close(lock)


@unix_only
def test_a_folder_that_is_missing_is_a_clear_error(tmp_path):
    path = tmp_path / "missing" / "ws.sock"
    with pytest.raises(OSError, match=f"can't listen on {path}: No such file"):
        WSServer(unix=str(path)).start()


@unix_only
def test_of_servers_that_replace_a_unix_socket_at_once_one_succeeds(tmp_path):
    path = str(tmp_path / "ws.sock")
    for _ in range(5):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)
        servers = [WSServer(unix=path) for _ in range(4)]
        failures = []

        def start(server, failures=failures):
            try:
                server.start()
            except OSError as error:
                failures.append(error.errno)

        threads = [threading.Thread(target=start, args=(server,)) for server in servers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == [errno.EADDRINUSE] * 3
        with connect(0, unix=path):
            pass
        for server in servers:
            server.shutdown()
        assert os.listdir(str(tmp_path)) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has abstract names")
def test_an_abstract_unix_socket(serve):
    path = f"\0ws-{os.getpid()}"
    for _ in range(2):
        serving = serve(unix=path)
        with pytest.raises(OSError, match="Address already in use"):
            WSServer(unix=path).start()
        assert connect(0, unix=path)
        serving.server.shutdown()


def test_a_socket_that_listens_already(serve):
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(5)
    serving = serve(sock=sock)
    assert serving.port == sock.getsockname()[1]
    peer, _ = serving.connect()
    peer.send("x")
    assert peer.recv() == "x"


def test_accepting_makes_way_for_clients():
    """However many connect at once: after a few milliseconds, those who are there are served."""
    accepted = []

    def admit(client, address):
        time.sleep(0.002)  # as long as a busy machine takes
        accepted.append(client)

    with socket.socket() as sock, ExitStack() as stack:
        sock.bind(("127.0.0.1", 0))
        sock.listen(50)
        listener = Listener(sock, Loop(), admit, print)
        for _ in range(50):
            stack.enter_context(socket.create_connection(sock.getsockname()))
        listener.on_readable()
        assert 1 <= len(accepted) <= 2
        while len(accepted) < 50:  # the others wait
            listener.on_readable()
        for client in accepted:
            client.close()


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

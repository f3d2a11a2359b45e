"""Start, keepalive, shutdown: from anywhere, in time, and onclose exactly once."""

from __future__ import annotations

import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.frames import close_frame, frame
from tests.support.heads import request
from tests.support.processes import free_port, listens
from tests.support.rawclient import RawClient, connect
from tests.support.waiting import DEADLINE, eventually
from ws import WSServer
from ws.engine.threads import LeaderFollowers

ROOT = str(Path(__file__).resolve().parents[2])
ECHO = """
import sys, signal, threading, time
from ws import WSServer
server = WSServer("127.0.0.1", int(sys.argv[1]))
server.onmessage(server.send)
server.onclose(lambda client: print("closed", client.close_code, flush=True))
"""


def echo_program(program, rest="server.run()"):
    """Start the echo server with more source after it; return the process and a client."""
    port = free_port()
    process = program(ECHO + rest, port)

    def connected():
        try:
            return connect(port)
        except OSError:
            assert process.poll() is None, process.stderr.read().decode()
            return None

    return process, eventually(connected)


def test_shutdown_says_1001_after_what_is_queued(serve):
    serving = serve()
    peer, client = serving.connect()
    serving.server.send(client, "before")
    result = queue.Queue()
    threading.Thread(target=lambda: result.put(serving.server.shutdown())).start()
    assert peer.recv() == "before"
    assert peer.recv() == (1001, "server is shutting down")
    peer.send_frames(close_frame(1001))
    assert peer.at_eof()
    peer.close()
    assert result.get(timeout=DEADLINE) is True
    assert serving.next("close") is client
    assert client.close_code == 1001
    with pytest.raises(OSError):
        connect(serving.port)
    assert serving.server.shutdown() is True, "once more does no harm"


def test_shutdown_cuts_who_does_not_leave(serve):
    serving = serve()
    peers = [serving.connect()[0] for _ in range(3)]
    mute = RawClient(serving.port)
    eventually(lambda: serving.active == 4)
    started = time.monotonic()
    serving.server.shutdown(timeout=0.5)
    assert time.monotonic() - started < 1.0
    for _ in peers:
        assert serving.next("close").close_code == 1006
    assert serving.server.clients == []
    assert mute.read_until(b"\r\n").startswith(b"HTTP/1.1 503 ")


def test_shutdown_in_time_with_a_stuck_callback_and_a_full_queue(serve):
    serving = serve()
    gate = threading.Event()
    serving.server.onmessage(lambda client, message: gate.wait(DEADLINE))
    stuck, client = serving.connect()
    for _ in range(100):
        stuck.send("x")
    serving.connect()
    for _ in range(4):
        serving.server.sendall("x" * (8 << 20))
    started = time.monotonic()
    assert serving.server.shutdown(timeout=1) is False
    assert time.monotonic() - started < 1.5
    gate.set()
    closed = {serving.next("close"), serving.next("close")}
    assert client in closed, "onclose comes even then, once the callback has returned"
    with pytest.raises(queue.Empty):
        serving.events.get(timeout=0.05)


def test_shutdown_from_a_callback(serve):
    serving = serve()
    returned = queue.Queue()
    serving.server.onmessage(lambda client, message: returned.put(serving.server.shutdown(2)))
    peer, client = serving.connect()
    peer.send("stop")
    assert returned.get(timeout=DEADLINE) is False, "it doesn't wait for itself"
    assert peer.recv() == (1001, "server is shutting down")
    peer.send_frames(close_frame(1001))
    assert serving.next("close") is client
    peer.close()
    eventually(lambda: not serving.server.stats()["threads"])


def test_shutdown_from_many_threads_at_once(serve):
    serving = serve()
    for _ in range(20):
        serving.connect()
    results = queue.Queue()
    for _ in range(8):
        threading.Thread(target=lambda: results.put(serving.server.shutdown(1))).start()
    for _ in range(8):
        results.get(timeout=DEADLINE)
    for _ in range(20):
        assert serving.next("close")
    eventually(lambda: serving.service.threads.count <= 1)


def test_shutdown_before_start():
    server = WSServer()
    assert server.shutdown() is True
    with pytest.raises(RuntimeError):
        server.start()


def test_shutdown_while_it_starts(monkeypatch):
    server = WSServer("127.0.0.1", 0)
    start = LeaderFollowers.start
    monkeypatch.setattr(LeaderFollowers, "start", lambda self: (server.shutdown(1), start(self)))
    server.run()


def test_without_end(serve):
    """Times longer than the system's calls accept."""
    serving = serve(ping_interval=90 * 86400.0, close_timeout=1e9, send_timeout=1e12)
    peer, client = serving.connect()
    serving.server.close(client)
    assert peer.recv() == (1000, "")
    peer.close()
    assert serving.next("close") is client
    assert serving.server.shutdown(float("inf")) is True


def test_the_close_code_does_not_change_after_onclose(serve):
    serving = serve(threads=1)
    serving.server.onmessage(lambda client, message: time.sleep(0.05))
    peers, clients = zip(*[serving.connect() for _ in range(2)])
    for peer in peers:
        peer.send_frames(*[frame(1, b"x")] * 4, close_frame(1000, "bye"))
        peer.close()
    assert {serving.next("close"), serving.next("close")} == set(clients)
    eventually(lambda: not serving.active)
    assert [(client.close_code, client.close_reason) for client in clients] == [(1000, "bye")] * 2


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_ends_cleanly_on_signals(program, number):
    process, peer = echo_program(program)
    process.send_signal(number)
    assert peer.recv() == (1001, "server is shutting down")
    peer.send_frames(close_frame(1001))
    peer.close()
    assert process.wait(DEADLINE) == 0
    assert process.stdout.read() == b"closed 1001\n"
    assert process.stderr.read() == b""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_shutdown_from_a_signal_handler_that_interrupts_a_send(program):
    rest = """
signal.signal(signal.SIGUSR1, lambda *_: server.shutdown(5))
server.start()
while server.stats()["threads"]:  # the main thread is in the library nearly all of the time
    server.sendall("x")
"""
    process, peer = echo_program(program, rest)
    assert peer.recv() == "x"
    started = time.monotonic()
    process.send_signal(signal.SIGUSR1)
    while peer.recv() == "x":
        pass
    assert time.monotonic() - started < 4, "nobody waited for a lock until the timeout"
    peer.send_frames(close_frame(1001))
    peer.close()
    assert process.wait(DEADLINE) == 0
    assert process.stdout.read() == b"closed 1001\n"


def test_a_program_that_just_ends_says_goodbye(program):
    process, peer = echo_program(program, "server.start(); time.sleep(0.5)")
    assert peer.recv() == (1001, "server is shutting down")
    peer.send_frames(close_frame(1001))
    peer.close()
    assert process.wait(DEADLINE) == 0
    assert process.stderr.read() == b""


@pytest.mark.parametrize("words", [[], ["serve"]])
def test_echo_server_of_the_package(words):
    port = free_port()
    command = [sys.executable, "-m", "ws", *words, str(port), "--host", "127.0.0.1"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe)
    try:
        eventually(lambda: listens(port))
        again = subprocess.run(command, cwd=ROOT, stderr=pipe, timeout=DEADLINE, check=False)
        assert again.returncode == 2
        assert again.stderr.startswith(b"ws: ") and again.stderr.count(b"\n") == 1
        with connect(port) as peer:
            peer.send("x")
            assert peer.recv() == "x"
    finally:
        process.terminate()
        output, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, output, errors) == (0, b"", b"")


# Ends of TCP


@pytest.mark.parametrize("abrupt", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize(
    "sent",
    [b"", b"\x81", frame(1, b"x" * 50)[:20], frame(1, b"x", fin=False)],
    ids=["idle", "in a header", "in a payload", "between fragments"],
)
def test_tcp_ends_at_any_point(serve, sent, abrupt):
    serving = serve()
    peer, client = serving.connect()
    peer.sock.sendall(sent)
    if abrupt:
        option = struct.pack("ii", 1, 0)
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
    peer.close()
    assert serving.next("close") is client
    assert (client.close_code, client.close_reason) == (1006, "")
    eventually(lambda: client.fileno() == -1)
    assert serving.events.empty()


@pytest.mark.parametrize("sent", [b"", b"G", request()[:-2]])
def test_tcp_ends_before_the_handshake(serve, sent):
    serving = serve()
    with RawClient(serving.port) as peer:
        peer.sock.sendall(sent)
        eventually(lambda: serving.active)
    eventually(lambda: not serving.active)
    assert serving.events.empty()


def test_a_client_that_closes_without_answering_is_given_up(serve):
    serving = serve(close_timeout=0.2)
    peer, client = serving.connect()
    serving.server.close(client)
    assert serving.next("close") is client
    assert client.close_code == 1006
    assert client.close_reason == "close frame not answered in time"
    peer.close()


def test_a_client_that_keeps_tcp_open_after_the_close_is_dropped(serve):
    serving = serve(close_timeout=0.2)
    peer, client = serving.connect()
    peer.send_frames(close_frame())
    assert peer.recv() == (1000, "")
    assert serving.next("close") is client
    eventually(lambda: not serving.active)

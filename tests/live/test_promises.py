"""Promises that were broken once: the public API must hold at the worst moment, too."""

from __future__ import annotations

import math
import queue
import socket
import threading
import time

import pytest

from tests.support.frames import CLOSE, CONT, PING, PONG, TEXT, close_frame, frame
from tests.support.heads import request
from tests.support.processes import free_port, listens
from tests.support.rawclient import RawClient
from tests.support.waiting import DEADLINE, eventually
from ws import WSServer
from ws.backplane import Backplane
from ws.engine.workers import Workers

MIB = 1 << 20


class Nowhere(Backplane):
    """A backplane that connects this server to no other."""

    def start(self, deliver):
        pass

    def publish(self, room, message):
        pass

    def count(self, room, clients):
        pass

    def presence(self, room):
        return 0

    def stats(self):
        return {}

    def stop(self, timeout):
        pass


def test_a_client_is_not_cut_for_a_ping_that_was_not_sent(serve):
    """RFC 6455 §5.5.2: with much queued no ping is sent, so none can be answered."""
    serving = serve(ping_interval=0.5, ping_timeout=3, max_queue_size=64 * MIB)
    peer, client = serving.connect()
    serving.server.send(client, b"x" * (16 * MIB))
    time.sleep(0.75)  # the ping is due meanwhile
    assert len(peer.recv()) == 16 * MIB
    opcode, payload, _ = peer.recv_frame()
    assert opcode == PING, "the ping follows when there is room"
    peer.send_frames(frame(PONG, payload))
    eventually(lambda: client.latency is not None)
    assert serving.server.clients == [client]


def test_no_onclose_without_onopen(serve):
    """A shutdown cuts clients who were accepted, but not yet told to onopen."""
    server = serve().server
    opened, closed = queue.Queue(), queue.Queue()
    server.onopen(opened.put)
    server.onclose(closed.put)
    server.onrequest(lambda request: time.sleep(0.02))
    peers = [RawClient(server.port) for _ in range(64)]
    for peer in peers:
        peer.sock.sendall(request())
    eventually(lambda: not opened.empty())
    server.shutdown(0.2)
    eventually(lambda: opened.qsize() == closed.qsize())
    assert set(opened.queue) == set(closed.queue)
    for peer in peers:
        peer.close()


def test_a_backplane_that_cannot_start_leaves_nothing_running():
    class Broken(Nowhere):
        def start(self, deliver):
            raise ConnectionError("no such host")

    port, before = free_port(), set(threading.enumerate())
    server = WSServer("127.0.0.1", port, backplane=Broken())
    with pytest.raises(ConnectionError):
        server.start()
    assert not listens(port)
    eventually(lambda: not set(threading.enumerate()) - before)
    assert server.shutdown() is True
    with pytest.raises(RuntimeError, match="runs once"):
        server.start()


@pytest.mark.parametrize("started", [0, 1], ids=["no thread", "one thread"])
def test_threads_that_cannot_start_leave_the_port_free(monkeypatch, started):
    port, before = free_port(), set(threading.enumerate())
    server = WSServer("127.0.0.1", port)
    start, left = threading.Thread.start, iter(range(started))

    def refuse(thread):
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            server.start()
    assert not listens(port)
    eventually(lambda: not set(threading.enumerate()) - before)
    with server.start():
        assert listens(port), "it may be tried again"


def test_a_backplane_that_cannot_stop_does_not_hold_up_the_end(serve, caplog):
    class Broken(Nowhere):
        def stop(self, timeout):
            raise ConnectionError("it is away")

    before = set(threading.enumerate())
    serving = serve(backplane=Broken())
    peer, client = serving.connect()
    ended = threading.Event()
    threading.Thread(target=lambda: (serving.server.run(), ended.set()), daemon=True).start()
    peer.sock.sendall(close_frame(1001))
    assert serving.next("close") is client
    peer.close()
    assert serving.server.shutdown() is True
    assert ended.wait(DEADLINE)
    assert "it is away" in caplog.text
    eventually(lambda: not set(threading.enumerate()) - before)


def test_a_shutdown_while_it_starts_and_a_connection_that_ends(monkeypatch):
    """`start` takes long, and everything happens before it returns."""
    port = free_port()
    met = threading.Event()

    class Slow(Nowhere):
        def start(self, deliver):
            time.sleep(0.1)

    server = WSServer("127.0.0.1", port, backplane=Slow())
    start = threading.Thread.start

    def slowly(thread):
        start(thread)
        if thread.name == "ws-thread" and not met.is_set():
            met.set()
            socket.create_connection(("127.0.0.1", port)).close()
            server.shutdown(1)
            time.sleep(0.3)

    monkeypatch.setattr(threading.Thread, "start", slowly)
    ended = threading.Event()
    threading.Thread(target=lambda: (server.run(), ended.set()), daemon=True).start()
    assert ended.wait(DEADLINE), "run returns"
    assert met.is_set()
    used = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - used < 0.1, "nothing spins"


def test_close_comes_after_messages_that_wait_for_a_fragmented_one(serve):
    serving = serve()
    peer, client = serving.connect()
    server, closed = serving.server, queue.Queue()

    def chunks():
        yield "one "
        assert server.send(client, "waits")
        closed.put(server.close(client, 1000, "bye"))
        assert server.send(client, "too late") is False
        yield "message"

    assert server.send(client, chunks())
    assert closed.get_nowait() is True
    assert [peer.recv_frame() for _ in range(4)] == [
        (TEXT, b"one ", False),
        (CONT, b"message", False),
        (CONT, b"", True),
        (TEXT, b"waits", True),
    ]
    assert peer.recv() == (1000, "bye")
    peer.send_frames(close_frame(1000, "bye"))
    assert serving.next("close") is client
    assert peer.at_eof()


def test_a_close_of_the_peer_does_not_wait_for_a_fragmented_message(serve):
    """It reads no more of it, so the handshake is completed at once (RFC 6455 §5.5.1)."""
    serving = serve()
    peer, client = serving.connect()
    gone = threading.Event()

    def chunks():
        yield "half a message"
        gone.wait(DEADLINE)
        yield "the other half"

    result = queue.Queue()
    threading.Thread(target=lambda: result.put(serving.server.send(client, chunks()))).start()
    assert peer.recv_frame() == (TEXT, b"half a message", False)
    peer.send_frames(close_frame(4000, "enough"))
    assert peer.recv_frame()[0] == CLOSE
    assert peer.at_eof()
    assert serving.next("close") is client
    gone.set()
    assert result.get(timeout=DEADLINE) is False


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_someone_leads_at_the_bound_of_threads(serve, monkeypatch, threads):
    """The monitor looks at the worst moment: all workers are busy, and the leader is, too."""
    serving = serve(threads=threads)
    server, gate = serving.server, threading.Event()
    server.onmessage(lambda client, message: gate.wait(DEADLINE))
    peers = [serving.connect()[0] for _ in range(threads + 2)]
    too_late = property(lambda self: -math.inf, lambda self, needed: None)
    monkeypatch.setattr(Workers, "trust_needed", too_late, raising=False)  # the leader isn't told
    try:
        for peer in peers:
            peer.send("block")
            time.sleep(0.02)  # several looks of the monitor
        for peer in peers:
            peer.send_frames(frame(PING, b"anybody?"))
        assert peers[-1].recv_frame() == (PONG, b"anybody?", True)
    finally:
        gate.set()


def test_a_broadcast_does_not_cut_clients_who_are_just_coming(serve):
    serving = serve(max_clients_per_address=5000)
    end = threading.Event()

    def broadcast():
        while not end.is_set():
            serving.server.sendall("x" * 100)

    threads = [threading.Thread(target=broadcast) for _ in range(3)]
    for thread in threads:
        thread.start()
    reasons = []
    serving.server.onclose(lambda client: reasons.append(client.close_reason))
    try:
        for _ in range(300):
            with RawClient(serving.port, request()) as peer:
                assert peer.status == 101
                assert peer.recv() == "x" * 100
    finally:
        end.set()
        for thread in threads:
            thread.join()
    assert not [reason for reason in reasons if "took too long" in reason]


def test_run_returns_when_the_start_in_another_thread_fails():
    class Broken(Nowhere):
        def start(self, deliver):
            started.set()
            time.sleep(0.2)
            raise ConnectionError("no such host")

    started, ended = threading.Event(), threading.Event()
    server = WSServer("127.0.0.1", 0, backplane=Broken())

    def start():
        with pytest.raises(ConnectionError):
            server.start()

    threading.Thread(target=start).start()
    assert started.wait(DEADLINE)
    threading.Thread(target=lambda: (server.run(), ended.set()), daemon=True).start()
    assert ended.wait(DEADLINE)


def test_who_is_no_client_is_refused(serve):
    serving = serve()
    peer, client = serving.connect()
    for call in (
        lambda: serving.server.send("client", "x"),
        lambda: serving.server.close(None),
        lambda: serving.server.ping(5),
        lambda: serving.server.sendall("x", to=["room"]),
        lambda: serving.server.sendall("x", exclude=[object()]),
    ):
        with pytest.raises(TypeError, match="a client is needed"):
            call()
    peer.close()
    assert serving.next("close") is client
    assert serving.server.send(client, "x") is False
    assert serving.server.sendall("x", to=[client]) == 0


WRITES_LATER = """
import sys, threading, time
from ws import WSServer

server = WSServer("127.0.0.1", int(sys.argv[1]))

@server.onmessage
def later(client, message):
    def work():
        time.sleep(0.5)
        print("written", threading.current_thread().daemon, flush=True)
    threading.Thread(target=work).start()
    server.send(client, "started")
    done.set()

done = threading.Event()
server.start()
done.wait()
"""


def test_threads_of_a_callback_outlive_the_main_thread(program):
    """As threads do that the main thread starts: the interpreter waits for them."""
    port = free_port()
    process = program(WRITES_LATER, port)
    eventually(lambda: listens(port))
    with RawClient(port, request()) as peer:
        peer.send("work")
        assert peer.recv() == "started"
        assert process.wait(DEADLINE) == 0
    assert process.stdout.read() == b"written False\n"
    assert process.stderr.read() == b""

"""Callbacks that block or raise: what goes on meanwhile, and in which order."""

from __future__ import annotations

import logging
import queue
import threading
import time

import pytest

from tests.support.frames import PING, PONG, TEXT, close_frame, frame
from tests.support.heads import request
from tests.support.rawclient import RawClient, connect
from tests.support.waiting import DEADLINE, eventually


def test_messages_of_one_client_keep_their_order(serve, gate):
    serving = serve()
    serving.gated(gate)
    peer, _ = serving.connect()
    messages = ["1", "wait", *map(str, range(2, 500))]
    for message in messages:
        peer.send(message)
    assert peer.recv() == "1"
    gate.set()
    assert [peer.recv() for _ in messages[1:]] == messages[1:]


def test_a_blocked_callback_delays_no_other_client(serve, gate):
    serving = serve()
    serving.gated(gate)
    stuck, _ = serving.connect()
    others = [serving.connect()[0] for _ in range(10)]
    stuck.send("wait")
    for peer in others:
        peer.send("x")
        assert peer.recv() == "x"
    assert connect(serving.port), "new clients are let in as well"


def test_callbacks_that_block_run_side_by_side(serve):
    serving = serve()
    barrier = threading.Barrier(50)
    serving.server.onmessage(lambda client, message: barrier.wait(DEADLINE))
    peers = [serving.connect()[0] for _ in range(50)]
    for peer in peers:
        peer.send("all 50 are in their callbacks, or none gets out")
    eventually(lambda: serving.server.stats()["messages_in"] == 50)
    assert not barrier.broken
    for peer in peers:
        peer.send_frames(close_frame())
        assert peer.recv() == (1000, "")


@pytest.mark.parametrize("threads", [1, 2])
def test_at_the_bound_of_threads_only_callbacks_wait(serve, gate, threads):
    serving = serve(threads=threads, open_timeout=0.5, ping_interval=0.2)
    server = serving.server
    serving.gated(gate)
    stuck = [serving.connect()[0] for _ in range(threads)]
    for peer in stuck:
        peer.send("wait")
    waiting = connect(serving.port)
    waiting.send("waits for a thread")
    waiting.send_frames(frame(PING, b"control frames are read"))
    pongs = iter(waiting.recv_frame, None)
    assert any(frame == (PONG, b"control frames are read", True) for frame in pongs)
    assert server.sendall("written") == threads + 1
    assert [peer.recv() for peer in [*stuck, waiting]] == ["written"] * (threads + 1)
    mute = RawClient(serving.port)
    assert mute.at_eof(), "deadlines are kept"
    assert server.stats()["threads"] <= threads + 2
    gate.set()
    assert waiting.recv() == "waits for a thread"


def test_a_client_that_waits_is_read_only_so_far(serve, gate):
    """Backpressure: a peer can't fill the memory while its callback is blocked."""
    serving = serve(max_message_size=1 << 20)
    serving.gated(gate)
    peer, _ = serving.connect()
    peer.send("wait")
    peer.sock.settimeout(0.3)
    sent = 0
    with pytest.raises(OSError):
        while sent < 1 << 28:
            peer.send(b"x" * (1 << 20))
            sent += 1 << 20
    assert serving.server.stats()["bytes_in"] < 64 << 20


def test_control_frames_of_a_client_whose_own_callback_blocks(serve, gate):
    serving = serve()
    serving.gated(gate)
    peer, _ = serving.connect()
    peer.send("wait")
    peer.send_frames(frame(PING, b"still there?"))
    assert peer.recv_frame() == (PONG, b"still there?", True)


def test_replies_before_a_fault_leave_before_its_close_frame(serve, gate):
    """This holds also if both are found while the callback blocks (RFC 6455 §7.1.7)."""
    serving = serve()
    serving.gated(gate)
    peer, client = serving.connect()
    peer.send_frames(
        frame(TEXT, b"wait"),
        frame(TEXT, b"queued"),
        frame(3),
    )
    eventually(lambda: serving.connection(client).inbox)
    gate.set()
    assert [peer.recv() for _ in range(3)] == ["wait", "queued", (1002, "reserved opcode 0x3")]


def test_what_was_corked_leaves_when_a_callback_blocks(serve, gate):
    serving = serve()
    serving.gated(gate)
    peer, _ = serving.connect()
    peer.send_frames(*[frame(TEXT, text) for text in (b"first", b"wait", b"x")])
    assert peer.recv() == "first"
    gate.set()
    assert [peer.recv(), peer.recv()] == ["wait", "x"]


def test_callbacks_of_one_client_never_overlap(serve):
    serving = serve()
    inside = set()
    overlaps = queue.Queue()

    def callback(client, message=None):
        if client in inside:
            overlaps.put(client)
        inside.add(client)
        time.sleep(0.003)
        inside.discard(client)

    serving.server.onopen(callback)
    serving.server.onmessage(callback)
    done = queue.Queue()
    serving.server.onclose(lambda client: (callback(client), done.put(client)))
    peers = [connect(serving.port) for _ in range(8)]
    for _ in range(20):
        for peer in peers:
            peer.send("x")
    for peer in peers:
        peer.send_frames(close_frame())
    for _ in peers:
        done.get(timeout=DEADLINE)
    assert overlaps.empty()


@pytest.mark.parametrize("error", [ValueError("a bug"), SystemExit(1), KeyboardInterrupt()])
def test_a_callback_that_raises(serve, caplog, error):
    serving = serve()
    seen = queue.Queue()
    serving.server.onerror(lambda client, exception: seen.put((client, exception)))

    @serving.server.onmessage
    def fail(client, message):
        raise error

    peer, client = serving.connect()
    bystander, _ = serving.connect()
    peer.send("x")
    assert peer.recv() == (1011, "internal error")
    peer.send_frames(close_frame(1011))
    assert seen.get(timeout=DEADLINE) == (client, error)
    assert serving.next("close") is client
    assert client.close_code == 1011
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info[1] is error
    bystander.send_frames(frame(PING))
    assert bystander.recv_frame()[0] == PONG, "the server goes on"


@pytest.mark.parametrize("name", ["onopen", "onclose", "onerror"])
def test_any_callback_may_raise(serve, name):
    serving = serve()

    def fail(*arguments):
        raise ValueError("a bug")

    getattr(serving.server, name)(fail)
    serving.server.onmessage(fail)
    with connect(serving.port) as peer:
        peer.send("x")
        assert peer.recv() == (1011, "internal error")
    eventually(lambda: not serving.active)
    assert connect(serving.port)


@pytest.mark.parametrize("early", [b"", frame(TEXT, b"early")], ids=["alone", "with a message"])
def test_an_onrequest_that_blocks(serve, gate, early):
    serving = serve()
    started = threading.Event()
    serving.server.onrequest(lambda request: (started.set(), gate.wait(DEADLINE), None)[-1])
    peer = RawClient(serving.port)
    peer.sock.sendall(request() + early)
    assert started.wait(DEADLINE)
    eventually(lambda: serving.service.threads.workers.trust_needed)  # the lead was lost
    gate.set()
    peer.handshake(b"")
    assert peer.status == 101
    serving.next("open")
    if early:
        assert peer.recv() == "early"
    peer.send("hello")
    assert peer.recv() == "hello"

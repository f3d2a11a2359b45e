"""Threads on demand: who leads, who works, and for how long."""

from __future__ import annotations

import queue
import socket
import sys
import threading
import time

import pytest

from tests.support.frames import PING, close_frame, frame
from tests.support.heads import request
from tests.support.rawclient import RawClient
from tests.support.waiting import DEADLINE, LATE, eventually
from ws.engine.loop import Loop, Source
from ws.engine.outbox import Outbox
from ws.engine.poll import READ
from ws.engine.shares import Share
from ws.engine.threads import TURN_EVENTS, LeaderFollowers
from ws.wire import frames
from ws.wire.events import TEXT
from ws.wire.protocol import Protocol


def test_no_wake_ups_while_idle(serve):
    serving = serve()
    peer, _ = serving.connect()
    peer.send("x")
    assert peer.recv() == "x"
    threads = serving.service.threads
    eventually(lambda: threads.monitor.asleep)
    rounds = serving.service.loop.rounds
    with pytest.raises(AssertionError):
        eventually(
            lambda: serving.service.loop.rounds != rounds or not threads.monitor.asleep, seconds=0.5
        )


class Backlog(Source):
    """It is always readable, and each read brings this many messages."""

    __slots__ = ("messages", "pair", "protocol", "served")

    def __init__(self, messages):
        super().__init__()
        self.share = Share()
        self.messages = messages
        self.pair = socket.socketpair()
        self.pair[1].send(b"x")
        self.protocol = Protocol(1, 1)
        self.served = 0

    def fileno(self):
        return self.pair[0].fileno()

    def on_readable(self):
        return iter([(TEXT, "")] * self.messages)


def test_turns_are_shared_fairly_however_long_a_backlog_lasts(monkeypatch):
    enough = threading.Event()
    modest, greedy = Backlog(1), Backlog(100 * TURN_EVENTS + 1)

    def handle(source, event):
        source.served += 1
        if modest.served == 200:
            enough.set()

    monkeypatch.setattr(Backlog, "handle", handle)
    loop = Loop()
    threads = LeaderFollowers(loop, 4)
    for source in modest, greedy:
        loop.watch(source, READ)
    threads.start()
    try:
        assert enough.wait(DEADLINE)
    finally:
        threads.stop()
    assert greedy.served <= 2 * TURN_EVENTS * modest.served
    for source in modest, greedy:
        for sock in source.pair:
            sock.close()


def test_threads_that_are_not_needed_end(serve, monkeypatch):
    monkeypatch.setattr("ws.engine.workers.FOLLOWER_SECONDS", 0.1)
    serving = serve()
    barrier = threading.Barrier(8)
    serving.server.onmessage(lambda client, message: barrier.wait(DEADLINE))
    for peer in [serving.connect()[0] for _ in range(8)]:
        peer.send("x")
    eventually(lambda: serving.server.stats()["threads"] >= 9)
    eventually(lambda: serving.server.stats()["threads"] <= 2)


def test_an_address_that_leaves_and_comes_back_gets_no_more_threads(serve, gate):
    """Its callbacks run on, so that it has three quarters of the threads already."""
    serving = serve(threads=8)
    running = []

    @serving.server.onrequest
    def decide(request):
        if request.path == "/blocks":
            running.append(1)
            gate.wait(DEADLINE)

    other, _ = serving.connect(source="127.0.0.2")
    for _ in range(2):
        peers = [RawClient(serving.port) for _ in range(8)]
        for peer in peers:
            peer.sock.sendall(request("/blocks"))
        eventually(lambda: len(running) >= 6 and serving.active == 9)
        for peer in peers:
            peer.close()
        eventually(lambda: serving.active == 1)
    other.send("still there?")
    other.sock.settimeout(LATE)
    assert other.recv() == "still there?"
    assert len(running) == 6


@pytest.mark.parametrize("help_comes", ["a thread can be started", "a callback returns"])
def test_when_no_thread_can_be_started_callbacks_wait(serve, gate, monkeypatch, help_comes):
    serving = serve()
    serving.gated(gate)
    stuck, _ = serving.connect()
    other, _ = serving.connect()
    start = threading.Thread.start
    allowed = threading.Event()

    def refuse(thread):
        if thread.name.startswith("ws-") and not allowed.is_set():
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    stuck.send("wait")
    eventually(lambda: serving.service.threads.workers.short_of_threads)
    if help_comes == "a thread can be started":
        other.send("x")
        allowed.set()
        assert other.recv() == "x"
    else:
        gate.set()
        assert stuck.recv() == "wait"
    eventually(lambda: serving.service.threads.monitor.asleep)


def test_under_a_tiny_switch_interval(serve):
    """Every hand-over of the lead at once: nothing lost, doubled or out of order."""
    serving = serve(threads=4)
    server = serving.server

    @server.onmessage
    def sometimes_block(client, message):
        if message.endswith("7"):
            time.sleep(0.006)
        server.send(client, message)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        peers = [serving.connect()[0] for _ in range(12)]
        messages = [str(n) for n in range(60)]
        for message in messages:
            for peer in peers:
                peer.send(message)
        for peer in peers:
            assert [peer.recv() for _ in messages] == messages
    finally:
        sys.setswitchinterval(interval)


def test_reading_goes_on_although_the_worker_was_quicker_than_the_leader(serve, monkeypatch):
    watch = Loop.watch

    def slowly(self, source, add=0, remove=0):
        """The leader stops reading after it has left the events to the worker."""
        time.sleep(0.01 if remove == READ else 0)
        watch(self, source, add, remove)

    monkeypatch.setattr(Loop, "watch", slowly)
    monkeypatch.setattr("ws.engine.workers.READ_AHEAD", 1)
    serving = serve()
    serving.service.threads.workers.distrust(10**6)  # all callbacks go to workers
    peer, _ = serving.connect()
    messages = [str(n) for n in range(100)]
    peer.send_frames(*[frame(TEXT, message.encode()) for message in messages])
    assert [peer.recv() for _ in messages] == messages


def test_a_callback_that_blocks_at_the_end_of_a_long_batch_is_noticed(serve, gate, monkeypatch):
    """The monitor must not sleep through it, though the batch looked idle for a while."""
    monkeypatch.setattr("ws.engine.monitor.IDLE_CHECKS", 1)
    serving = serve()
    serving.gated(gate)
    peer, client = serving.connect()
    other, _ = serving.connect()
    put_control = Outbox.put_control
    slow = serving.connection(client).outbox

    def slowly(self, *arguments):
        if self is slow:
            time.sleep(0.001)
        return put_control(self, *arguments)

    monkeypatch.setattr(Outbox, "put_control", slowly)
    pings = [frame(PING)] * 100
    one, wait = (frame(TEXT, text) for text in (b"1", b"wait"))
    peer.send_frames(one, *pings, wait)
    assert peer.recv() == "1"
    other.send("x")
    assert other.recv() == "x"


@pytest.mark.parametrize(("many", "kept"), [(1, True), (2, False)])
def test_a_callback_that_sends_to_many_keeps_the_lead(serve, monkeypatch, many, kept):
    monkeypatch.setattr("ws.server.BROADCAST_CLIENTS", many)
    monkeypatch.setattr("ws.engine.monitor.LONG_SECONDS", DEADLINE)
    serving = serve()
    inline = queue.Queue()

    @serving.server.onmessage
    def sendall(client, message):
        serving.server.sendall(message)
        time.sleep(0.1)
        inline.put(not serving.service.threads.workers.trust_needed)

    peer, _ = serving.connect()
    peer.send("x")
    assert inline.get(timeout=DEADLINE) is kept


def test_a_broadcast_keeps_the_lead_only_so_long(serve, gate, monkeypatch):
    monkeypatch.setattr("ws.server.BROADCAST_CLIENTS", 1)
    serving = serve()

    @serving.server.onmessage
    def spin(client, message):
        serving.server.sendall(message)
        while message == "spin" and not gate.is_set():
            pass

    busy, other = serving.connect()[0], serving.connect()[0]
    busy.send("spin")
    assert other.recv() == "spin"
    other.send("x")
    assert other.recv() == "x"


@pytest.mark.parametrize(("share", "blocks"), [(1, False), (0.25, True), (0, True)])
def test_workers_keep_callbacks_that_block(serve, monkeypatch, share, blocks):
    """share: The share of a callback's time in which it computes, 0 to 1."""
    monkeypatch.setattr(time, "thread_time", lambda: share * time.monotonic())
    monkeypatch.setattr("ws.engine.workers.INLINE_AFTER", 5)
    serving = serve()
    threads = serving.service.threads
    inline = []

    @serving.server.onmessage
    def record(client, message):
        inline.append(not threads.workers.trust_needed)
        time.sleep(0.005)

    threads.workers.distrust(5)
    peer, _ = serving.connect()
    peer.send_frames(*[frame(TEXT, b"x")] * 50, close_frame())
    assert peer.recv() == (1000, "")
    assert any(inline) is not blocks


def test_parsing_that_takes_long_lets_others_in_between(serve, monkeypatch):
    """Inflating does so, and one read may bring a lot to inflate."""
    unmask = frames.unmask
    slowly = staticmethod(lambda *data: (time.sleep(0.002), unmask(*data))[1])
    monkeypatch.setattr("ws.wire.protocol.Protocol._unmask", slowly)
    serving = serve()
    order = queue.Queue()
    serving.server.onmessage(lambda client, message: order.put(message))
    busy, _ = serving.connect()
    other, _ = serving.connect()
    busy.send_frames(*[frame(TEXT, b"busy")] * 300)
    assert order.get(timeout=DEADLINE) == "busy"
    other.send("other")
    got = iter(lambda: order.get(timeout=DEADLINE), "other")
    assert sum(1 for _ in got) < 100

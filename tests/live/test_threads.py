"""Threads on demand: what blocks, what doesn't, and in which order."""

from __future__ import annotations

import logging
import queue
import socket
import sys
import threading
import time

import pytest

from tests.support.frames import PING, PONG, close_frame, frame
from tests.support.heads import request
from tests.support.rawclient import RawClient, connect
from tests.support.waiting import DEADLINE, eventually
from ws.engine.loop import Loop, Source
from ws.engine.outbox import Outbox
from ws.engine.poll import READ
from ws.engine.threads import TURN_EVENTS, LeaderFollowers
from ws.wire import frames
from ws.wire.events import TEXT
from ws.wire.protocol import Protocol


@pytest.fixture
def gate():
    """An event that callbacks wait for; set at the end in any case."""
    event = threading.Event()
    yield event
    event.set()


def gated(serving, gate):
    """Let messages that say "wait" wait for the gate before they are echoed."""

    @serving.server.onmessage
    def wait(client, message):
        if message == "wait":
            gate.wait(DEADLINE)
        serving.server.send(client, message)


def test_messages_of_one_client_keep_their_order(serve, gate):
    serving = serve()
    gated(serving, gate)
    peer, _ = serving.connect()
    messages = ["1", "wait", *map(str, range(2, 500))]
    for message in messages:
        peer.send(message)
    assert peer.recv() == "1"
    gate.set()
    assert [peer.recv() for _ in messages[1:]] == messages[1:]


def test_a_blocked_callback_delays_no_other_client(serve, gate):
    serving = serve()
    gated(serving, gate)
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
    gated(serving, gate)
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
    gated(serving, gate)
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
    gated(serving, gate)
    peer, _ = serving.connect()
    peer.send("wait")
    peer.send_frames(frame(PING, b"still there?"))
    assert peer.recv_frame() == (PONG, b"still there?", True)


def test_replies_before_a_fault_leave_before_its_close_frame(serve, gate):
    """Also when both are found while the callback blocks (RFC 6455 §7.1.7)."""
    serving = serve()
    gated(serving, gate)
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
    gated(serving, gate)
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


def test_no_wake_ups_while_idle(serve):
    serving = serve()
    peer, _ = serving.connect()
    peer.send("x")
    assert peer.recv() == "x"
    threads = serving.service.threads
    eventually(lambda: threads.asleep)
    rounds = serving.service.loop.rounds
    with pytest.raises(AssertionError):
        eventually(lambda: serving.service.loop.rounds != rounds or not threads.asleep, seconds=0.5)


class Backlog(Source):
    """Always readable, and each read brings so many messages."""

    __slots__ = ("messages", "pair", "protocol", "served")

    def __init__(self, messages):
        super().__init__()
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
    monkeypatch.setattr("ws.engine.threads.FOLLOWER_SECONDS", 0.1)
    serving = serve()
    barrier = threading.Barrier(8)
    serving.server.onmessage(lambda client, message: barrier.wait(DEADLINE))
    for peer in [serving.connect()[0] for _ in range(8)]:
        peer.send("x")
    eventually(lambda: serving.server.stats()["threads"] >= 9)
    eventually(lambda: serving.server.stats()["threads"] <= 2)


@pytest.mark.parametrize("help_comes", ["a thread can be started", "a callback returns"])
def test_when_no_thread_can_be_started_callbacks_wait(serve, gate, monkeypatch, help_comes):
    serving = serve()
    gated(serving, gate)
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
    eventually(lambda: serving.service.threads.short_of_threads)
    if help_comes == "a thread can be started":
        other.send("x")
        allowed.set()
        assert other.recv() == "x"
    else:
        gate.set()
        assert stuck.recv() == "wait"
    eventually(lambda: serving.service.threads.asleep)


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
    enqueue = LeaderFollowers._enqueue  # between the worker's end and the leader's next step

    def slowly(self, *arguments):
        more = enqueue(self, *arguments)
        time.sleep(0 if more else 0.01)
        return more

    monkeypatch.setattr(LeaderFollowers, "_enqueue", slowly)
    monkeypatch.setattr("ws.engine.threads.READ_AHEAD", 1)
    serving = serve()
    serving.service.threads.leave_to_workers(10**6)  # all callbacks go to workers
    peer, _ = serving.connect()
    messages = [str(n) for n in range(100)]
    peer.send_frames(*[frame(TEXT, message.encode()) for message in messages])
    assert [peer.recv() for _ in messages] == messages


def test_a_callback_that_blocks_at_the_end_of_a_long_batch_is_noticed(serve, gate, monkeypatch):
    """The monitor must not sleep through it, though the batch looked idle for a while."""
    monkeypatch.setattr("ws.engine.threads.IDLE_LOOKS", 1)
    serving = serve()
    gated(serving, gate)
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
    monkeypatch.setattr("ws.engine.threads.LONG_SECONDS", DEADLINE)
    serving = serve()
    inline = queue.Queue()

    @serving.server.onmessage
    def sendall(client, message):
        serving.server.sendall(message)
        time.sleep(0.1)
        inline.put(serving.service.threads.inline)

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
    """share: of the time that a callback takes, how much it computes."""
    monkeypatch.setattr(time, "thread_time", lambda: share * time.monotonic())
    monkeypatch.setattr("ws.engine.threads.INLINE_AFTER", 5)
    serving = serve()
    threads = serving.service.threads
    inline = []

    @serving.server.onmessage
    def record(client, message):
        inline.append(threads.inline)
        time.sleep(0.005)

    threads.leave_to_workers(5)
    peer, _ = serving.connect()
    peer.send_frames(*[frame(TEXT, b"x")] * 50, close_frame())
    assert peer.recv() == (1000, "")
    assert any(inline) is not blocks


def test_parsing_that_takes_long_lets_others_in_between(serve, monkeypatch):
    """As inflating does, of which one read may hold a lot."""
    unmask = frames.unmask
    monkeypatch.setattr(
        "ws.wire.protocol.unmask", lambda *data: (time.sleep(0.002), unmask(*data))[1]
    )
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


@pytest.mark.parametrize("early", [b"", frame(TEXT, b"early")], ids=["alone", "with a message"])
def test_an_onrequest_that_blocks(serve, gate, early):
    serving = serve()
    started = threading.Event()
    serving.server.onrequest(lambda request: (started.set(), gate.wait(DEADLINE), None)[-1])
    peer = RawClient(serving.port)
    peer.sock.sendall(request() + early)
    assert started.wait(DEADLINE)
    eventually(lambda: not serving.service.threads.inline)  # the lead was lost
    gate.set()
    peer.handshake(b"")
    assert peer.status == 101
    serving.next("open")
    if early:
        assert peer.recv() == "early"
    peer.send("hello")
    assert peer.recv() == "hello"

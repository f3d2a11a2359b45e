"""Sending to clients that are slow, silent or gone: it is bounded, and others don't notice."""

from __future__ import annotations

import queue
import socket
import struct
import sys
import threading
import time

import pytest

from tests.support.frames import PING, TEXT, frame
from tests.support.rawclient import connect
from tests.support.waiting import DEADLINE, eventually
from ws.engine.poll import READ

MIB = 1 << 20


def fill(serving, client):
    """Send to a client that doesn't read until something waits in its queue."""
    while not serving.queued:
        assert serving.server.send(client, b"x" * MIB)


def test_sendall_cuts_a_client_that_takes_nothing(serve):
    serving = serve(max_queue_size=MIB, send_timeout=0.3)
    mute, muted = serving.connect()
    reader, _ = serving.connect()
    message = "x" * MIB
    while muted in serving.server.clients:
        started = time.monotonic()
        serving.server.sendall(message)
        assert time.monotonic() - started < 1, "sendall never blocks"
        assert len(reader.recv()) == len(message)
    assert serving.next("close") is muted
    assert muted.close_code == 1006
    assert muted.close_reason.startswith("took too long to read: ")
    mute.close()


def test_sendall_skips_a_client_that_takes_nothing_if_told_so(serve):
    serving = serve(max_queue_size=MIB, send_timeout=0.2, slow_client="skip")
    slow, client = serving.connect()
    fill(serving, client)
    while serving.server.sendall(b"y" * MIB):
        time.sleep(0.01)
    assert serving.server.clients == [client]
    while serving.queued:
        assert set(slow.recv()) <= {120, 121}
    assert serving.server.sendall("back again") == 1
    eventually(lambda: slow.recv() == "back again")


@pytest.mark.parametrize("slow_client", ["close", "skip"])
def test_a_burst_beyond_the_high_water_mark_costs_a_reader_nothing(serve, slow_client):
    serving = serve(max_queue_size=MIB, slow_client=slow_client)
    peers = [serving.connect()[0] for _ in range(3)]
    messages = [bytes((number,)) * MIB for number in range(16)]
    for message in messages:
        assert serving.server.sendall(message) == 3
    assert serving.queued > 3 * 8 * MIB
    for message in messages:
        for peer in peers:
            assert peer.recv() == message


@pytest.mark.skipif(sys.platform != "linux", reason="the system doesn't tell what it holds")
def test_a_slow_but_steady_reader_is_not_cut(serve):
    """Although the system takes its data only every few seconds, megabytes at a time."""
    serving = serve(max_queue_size=MIB, send_timeout=1.5, ping_interval=1, ping_timeout=1)
    peer, client = serving.connect()
    stop = threading.Event()

    def trickle():
        while not stop.wait(0.05):
            peer.sock.recv(15_000)

    reader = threading.Thread(target=trickle)
    reader.start()
    try:
        serving.server.sendall(b"x" * (8 * MIB))
        end = time.monotonic() + 4
        while time.monotonic() < end:
            assert serving.server.sendall(b"y") == 1
            time.sleep(0.1)
    finally:
        stop.set()
        reader.join()


def test_send_waits_for_room_and_goes_on(serve):
    serving = serve(max_queue_size=MIB)
    slow, client = serving.connect()
    total = 32
    result = queue.Queue()
    send = serving.server.send
    threading.Thread(
        target=lambda: result.put([send(client, bytes([n]) * MIB) for n in range(total)])
    ).start()
    eventually(lambda: serving.connection(client).outbox.waiters)
    assert [slow.recv()[0] for _ in range(total)] == list(range(total))
    assert result.get(timeout=DEADLINE) == [True] * total


def test_send_gives_up_after_send_timeout(serve):
    serving = serve(max_queue_size=MIB, send_timeout=0.2)
    slow, client = serving.connect()
    accepted = True
    started = time.monotonic()
    while accepted:
        accepted = serving.server.send(client, b"x" * MIB)
    assert time.monotonic() - started < DEADLINE / 2
    assert serving.next("close") is client
    assert "took too long" in client.close_reason
    slow.close()


def test_a_waiting_send_ends_when_the_client_is_closed(serve):
    serving = serve(max_queue_size=MIB, send_timeout=DEADLINE, close_timeout=0.2)
    slow, client = serving.connect()
    fill(serving, client)
    result = queue.Queue()
    send = threading.Thread(
        target=lambda: result.put(all(serving.server.send(client, b"x" * MIB) for _ in range(99)))
    )
    send.start()
    eventually(lambda: serving.connection(client).outbox.waiters)
    assert serving.server.close(client) is True, "close doesn't wait for a stuck write"
    assert result.get(timeout=DEADLINE) is False
    assert serving.next("close") is client
    slow.close()


@pytest.mark.parametrize("reads_on", [True, False])
def test_a_peer_that_ends_tcp_while_much_waits_for_it(serve, gate, reads_on):
    """Its messages are handled to the last one, while it reads the replies. Then all is over."""
    serving = serve(max_queue_size=8 * MIB)
    reply = b"x" * (8 * MIB)

    @serving.server.onmessage
    def answer(client, message):
        serving.server.send(client, reply)
        gate.wait(DEADLINE)

    peer, client = serving.connect()
    peer.send_frames(*[frame(TEXT, b"x")] * 3)
    eventually(lambda: serving.queued)
    assert not serving.connection(client).congested, "the system's buffers have taken some"
    peer.sock.shutdown(socket.SHUT_WR)
    eventually(lambda: not serving.connection(client).interest & READ)
    gate.set()
    eventually(lambda: serving.connection(client).congested)
    if reads_on:
        assert peer.recv() == peer.recv() == reply
        while peer.sock.recv(MIB):
            pass
    peer.close()
    assert serving.next("close") is client


def test_a_flood_of_pings_by_a_client_that_never_reads_is_bounded(serve):
    serving = serve(max_queue_size=MIB, ping_interval=None)
    peer, client = serving.connect()
    peer.sock.settimeout(0.5)
    flood = frame(PING, b"x" * 125) * 1000
    try:
        for _ in range(300):
            peer.sock.sendall(flood)
    except OSError:
        pass
    assert serving.queued <= MIB + 1000


def test_a_peer_that_has_vanished_is_no_exception(serve, caplog):
    serving = serve()
    peer, client = serving.connect()
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    while serving.server.send(client, b"x" * 1000):
        pass
    assert serving.next("close") is client
    assert client.close_code == 1006
    assert serving.server.send(client, "x") is False
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def test_replies_to_a_batch_are_gathered(serve):
    """Cork: many small messages in one segment are answered in few writes."""
    serving = serve()
    peer, client = serving.connect()
    writes = []
    send = type(client).send
    type(client).send = lambda self, data, *rest: (
        writes.append(len(data)) or send(self, data, *rest)
    )
    try:
        peer.send_frames(*[frame(TEXT, b"%d" % n) for n in range(64)])
        assert [peer.recv() for _ in range(64)] == [str(n) for n in range(64)]
    finally:
        del type(client).send
    assert len(writes) <= 4


def test_a_broadcast_from_a_batch_is_gathered_too(serve):
    serving = serve()
    serving.server.onmessage(lambda client, message: serving.server.sendall(message))
    peers = [serving.connect()[0] for _ in range(5)]
    peers[0].send_frames(*[frame(TEXT, b"%d" % n) for n in range(100)])
    for peer in peers:
        assert [peer.recv() for _ in range(100)] == [str(n) for n in range(100)]


def test_send_while_the_leader_is_in_a_long_batch_leaves_soon(serve):
    """Data for a client is written even if the batch of another one held it back."""
    serving = serve()
    peers = [connect(serving.port) for _ in range(2)]
    first, second = serving.next("open"), serving.next("open")
    assert first is not second
    stop = threading.Event()

    def pipeline():
        burst = frame(TEXT, b"x") * 200
        while not stop.is_set():
            peers[0].sock.sendall(burst)
            for _ in range(200):
                peers[0].recv_frame()

    thread = threading.Thread(target=pipeline)
    thread.start()
    try:
        for n in range(300):
            assert serving.server.send(second, str(n))
            assert peers[1].recv() == str(n)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("size", [1, 65535, 65536, 300_000, 3 * MIB])
def test_large_and_small_messages_in_order_through_a_full_queue(serve, size):
    serving = serve(max_queue_size=256 * MIB)
    peer, client = serving.connect()
    count = 24
    for n in range(count):
        assert serving.server.send(client, bytes([n]) * size)
        assert serving.server.send(client, f"small {n}")
    for n in range(count):
        message = peer.recv()
        assert len(message) == size and message == bytes([n]) * size
        assert peer.recv() == f"small {n}"


def test_a_waiting_send_goes_on_as_soon_as_there_is_room(serve):
    serving = serve(max_queue_size=4 * MIB)
    slow, client = serving.connect()
    while serving.queued < 4 * MIB:
        assert serving.server.send(client, b"x" * (MIB // 2))
    done = threading.Event()
    send = threading.Thread(
        target=lambda: serving.server.send(client, b"y" * MIB) and done.set(), daemon=True
    )
    send.start()
    eventually(lambda: serving.connection(client).outbox.waiters)
    while not done.wait(0.1):
        slow.recv_frame()
    assert serving.queued > MIB, "it didn't wait for the queue to be empty"


@pytest.mark.parametrize("slow_client", ["close", "skip"])
def test_a_long_stream_costs_a_client_no_broadcast(serve, slow_client):
    """However many come meanwhile: it is the server that is slow."""
    serving = serve(max_queue_size=100_000, send_timeout=0.05, slow_client=slow_client)
    peer, client = serving.connect()
    server = serving.server

    def chunks():
        for _ in range(20):
            yield "s" * 1000
            time.sleep(0.01)
            assert all(server.sendall("z" * 999) for _ in range(15))

    assert server.send(client, chunks())
    assert peer.recv() == "s" * 20_000
    assert [peer.recv() for _ in range(300)] == ["z" * 999] * 300
    assert server.clients == [client]


def test_pongs_for_a_client_that_does_not_read_are_left_out(serve):
    serving = serve(ping_interval=None)
    peer, client = serving.connect()
    while serving.queued < 200_000:
        serving.server.send(client, b"x" * 100_000)
    queued = serving.queued
    peer.send_frames(*[frame(PING)] * 5000)
    peer.send("behind")
    eventually(lambda: serving.server.stats()["messages_in"])
    assert serving.queued <= queued + 40, "5000 pongs would be 10 kB"

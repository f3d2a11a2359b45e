"""Keepalive: who is cut, and who stays."""

from __future__ import annotations

import threading
import time

from tests.support.frames import BINARY, PING, PONG, frame
from tests.support.waiting import DEADLINE


def test_a_silent_peer_is_cut(serve):
    serving = serve(ping_interval=0.1, ping_timeout=0.2)
    peer, client = serving.connect()
    assert peer.recv_frame()[0] == PING
    assert serving.next("close") is client
    assert client.close_code == 1006
    assert client.close_reason == "keepalive ping not answered in time"


def test_a_peer_that_answers_stays(serve):
    serving = serve(ping_interval=0.1, ping_timeout=0.2)
    peer, client = serving.connect()
    for _ in range(6):
        opcode, payload, _ = peer.recv_frame()
        assert opcode == PING
        peer.send_frames(frame(PONG, payload))
    assert client.latency > 0
    assert serving.server.clients == [client]


def test_a_peer_in_the_middle_of_a_long_frame_stays(serve):
    """The client can't send a pong within a message, but its bytes show that it lives."""
    serving = serve(ping_interval=0.1, ping_timeout=0.2)
    peer, client = serving.connect()
    data = frame(BINARY, b"x" * 64)
    deadline = time.monotonic() + 1
    for n in range(len(data)):
        peer.sock.sendall(data[n : n + 1])
        while time.monotonic() < deadline - 1 + n / len(data):
            time.sleep(0.002)
    assert serving.server.clients == [client]


def test_a_peer_that_sends_but_never_reads_is_cut(serve):
    serving = serve(ping_interval=0.1, ping_timeout=0.2, max_queue_size=1 << 30)
    peer, client = serving.connect()
    for _ in range(16):
        serving.server.send(client, b"x" * (1 << 20))
    stop = threading.Event()

    def chatter():
        try:
            while not stop.wait(0.02):
                peer.send("I am here")
        except OSError:
            pass

    thread = threading.Thread(target=chatter)
    thread.start()
    assert serving.next("close") is client
    assert client.close_reason == "nothing could be written to it in time"
    stop.set()
    thread.join()


def test_keepalive_does_not_count_while_the_own_callback_blocks(serve):
    serving = serve(ping_interval=0.1, ping_timeout=0.1)
    gate = threading.Event()
    serving.server.onmessage(lambda client, message: gate.wait(DEADLINE))
    peer, client = serving.connect()
    for _ in range(40):  # more than is read ahead, so the pongs after it are not read
        peer.send("x")
    deadline = time.monotonic() + 0.8
    peer.sock.settimeout(0.1)
    while time.monotonic() < deadline:
        try:
            peer.send_frames(frame(PONG, peer.recv_frame()[1]))
        except OSError:
            pass
    assert serving.server.clients == [client]
    gate.set()

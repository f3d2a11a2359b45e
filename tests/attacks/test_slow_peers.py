"""Attacks by peers that don't read, don't answer, or have vanished."""

from __future__ import annotations

import os
import socket
import time

from tests.attacks.victim import gone, push
from tests.support.frames import TEXT, frame
from tests.support.waiting import LATE, eventually

MIB = 1 << 20
HONEST = 3
"""Honest clients, who are connected meanwhile."""


def shrink(peer):
    """Have the system buffer as little as possible for a peer."""
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return peer


def test_half_open_peers(victim):
    """Peers that vanish without a sign, as when a cable is cut, are noticed."""
    server = victim(ping_interval=1.0, ping_timeout=2.0)  # honest clients may be slow, too
    with server.attacked():
        for _ in range(100):
            server.connect()
        eventually(lambda: server.report()["connections"] == HONEST, 3 + LATE)


def test_never_reading_broadcasts(victim):
    """Peers that read no broadcasts are cut when nothing has left for `send_timeout`."""
    server = victim(max_queue_size=MIB, send_timeout=0.5)
    with server.attacked(memory=30, verb="all"):
        peers = [shrink(server.connect()) for _ in range(5)]
        speaker = server.connect()

        def all_gone():
            speaker.send(f"room:{'x' * (MIB // 8)}")
            assert speaker.recv()
            return server.report()["clients"] == HONEST + 1

        eventually(all_gone, 3 + LATE)
        assert all(map(gone, peers))


def test_never_reading_replies(victim):
    """They get no further callback, so no thread waits for them; keepalive ends them."""
    server = victim(max_queue_size=MIB, ping_interval=0.5, ping_timeout=0.5)
    with server.attacked(memory=30):
        peers = [shrink(server.connect()) for _ in range(10)]
        data = frame(TEXT, b"x" * (MIB // 16)) * 16

        def all_gone():
            sent = [push(peer, data) for peer in peers]
            return sent == [None] * len(peers)

        eventually(all_gone, 3 + LATE)


def test_trickling_readers(victim):
    """What waits for peers that read a byte now and then is bounded."""
    server = victim(max_queue_size=MIB, send_timeout=1)
    with server.attacked(memory=50):
        peers = [shrink(server.connect()) for _ in range(10)]
        for peer in peers:
            peer.send_frames(*[frame(TEXT, b"big:%d" % MIB)] * 16)
        end = time.monotonic() + 2
        while time.monotonic() < end:
            for peer in peers:
                try:
                    os.read(peer.sock.fileno(), 1)
                except OSError:
                    pass
            # Up to the mark, one more, and one for each second without room
            assert server.report()["queued"] <= 10 * 4 * MIB

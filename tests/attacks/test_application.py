"""Attacks on callbacks: those that block, and those that raise."""

from __future__ import annotations

import time

from tests.support.frames import PING, PONG, frame
from tests.support.waiting import eventually


def test_blocking_callbacks(victim):
    """A callback that blocks makes only its own client wait."""
    server = victim(threads=64)
    with server.attacked(threads=64):
        peers = [server.connect() for _ in range(50)]
        for _ in range(3):
            for peer in peers:
                peer.send("sleep:0.3")
            for peer in peers:
                assert peer.recv() == "sleep:0.3"


def test_thread_exhaustion(victim):
    """When all threads are taken, callbacks wait, and nothing else does."""
    server = victim(threads=10)
    with server.attacked(threads=10, latency=8):
        peers = [server.connect() for _ in range(50)]
        for peer in peers:
            peer.send("sleep:0.6")
        bystander = server.connect()
        started = time.monotonic()
        bystander.send_frames(frame(PING, b"still there?"))
        assert bystander.recv_frame() == (PONG, b"still there?", True)
        assert time.monotonic() - started < 2, "the callbacks take three seconds"
        for peer in peers:
            assert peer.recv() == "sleep:0.6"


def test_callbacks_that_raise(victim):
    """A callback that raises costs its own client the connection."""
    server = victim()
    with server.attacked():
        peers = [server.connect() for _ in range(100)]
        for peer in peers:
            peer.send("raise:a bug")
        for peer in peers:
            assert peer.recv() == (1011, "internal error")
        eventually(lambda: server.report()["log"].get("ERROR") == 100)

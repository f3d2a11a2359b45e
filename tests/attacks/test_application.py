"""Attacks on callbacks: those that block, and those that raise."""

from __future__ import annotations

import select
import time

from tests.support.frames import PING, PONG, frame
from tests.support.waiting import eventually

NOTE_LOG = """
noted = ""

class Note(logging.Handler):
    def emit(self, record):
        global noted
        if record.levelname == "ERROR":
            noted += self.format(record)

logging.getLogger("ws").addHandler(Note())
"""


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
        eventually(lambda: server.report()["log"].get("ERROR"))


def test_exceptions_flood(victim):
    """The same bug can't flood the log, however often and with whatever text a peer meets it."""
    server = victim()
    with server.attacked():
        server.report(NOTE_LOG)
        for _ in range(200):
            peer = server.connect()
            peer.send("raise:" + "x" * 60_000)
            assert peer.recv() == (1011, "internal error")
            peer.close()
        report = server.report()
        assert 5 <= report["log"].get("ERROR") <= 5 + 3, "of one kind"
        assert len(report["noted"]) < 20_000


def test_text_in_exceptions(victim):
    """What a peer has put into an exception can't forge log lines, or control a terminal."""
    server = victim()
    evil = "\x1b[2J\x85\r\nERROR forged \u2028ERROR \u202e"
    with server.attacked():
        server.report(NOTE_LOG)
        peer = server.connect()
        peer.send("raise:" + evil)
        assert peer.recv() == (1011, "internal error")
        lines = eventually(lambda: server.report()["noted"]).split("\n")
        assert all(line.isprintable() for line in lines), lines
        assert [line[:5] for line in lines if not line.startswith(" ")] == [
            "callb",
            "Trace",
            "Value",
        ]


def test_an_address_leaves_threads_to_others(victim):
    """One address has at most three quarters of them while there are others."""
    server = victim(threads=8)
    server.connect(source="127.0.0.2")
    sleepers = [server.connect() for _ in range(8)]
    for peer in sleepers:
        peer.send("sleep:5")
    time.sleep(1)  # so that they have as many threads as they get
    other = server.connect(source="127.0.0.2")
    other.send("sleep:0")
    assert other.recv() == "sleep:0"
    answered, _, _ = select.select([peer.sock for peer in sleepers], [], [], 0)
    assert answered == [], "they sleep on"

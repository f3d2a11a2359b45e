"""Attacks by many connections on the memory that all of them share: `max_memory`."""

from __future__ import annotations

import struct

from tests.attacks.victim import push
from tests.support.frames import TEXT, frame
from tests.support.heads import request
from tests.support.waiting import DEADLINE, LATE, eventually

MIB = 1 << 20
MAX_MEMORY = 64 * MIB
BOUND = 96
"""MiB that the process may take: half as much again as is accounted."""
CROWD = 150
"""Connections. What they try to have held is more than twice MAX_MEMORY."""
LONG_REPLY = 8 * MIB
"""More than what the system takes for a peer that doesn't read."""
OTHER = "127.0.0.2"
PART = MIB // 8
UNFINISHED = b"\x82\xff" + struct.pack("!Q", MIB) + b"mask" + bytes(MIB - 1)
"""A message without its last byte."""


def push_all(peers):
    """Send what the system takes, until it takes no more or the peer is cut."""
    for peer in peers:
        if push(peer, UNFINISHED) is None or not peer.left:
            peer.done = True


def send_all(peers, data):
    """Have all peers send at the same time, a part of *data* after the other."""
    for start in range(0, len(data), PART):
        for peer in peers:
            peer.sock.sendall(data[start : start + PART])


def crowd(server, count=CROWD):
    return [server.connect() for _ in range(count)]


def test_unfinished_messages_of_a_crowd(victim):
    """They take no more than there is, and who doesn't go on is cut."""
    server = victim(max_memory=MAX_MEMORY, ping_interval=None)
    with server.attacked(memory=BOUND):
        peers = crowd(server)
        for _ in range(30):
            push_all([peer for peer in peers if not hasattr(peer, "done")])
            server.report()
        eventually(lambda: server.report()["memory_cuts"] > 0, 3 * DEADLINE)


def test_unfinished_messages_that_leave_room(victim):
    """They are cut, too, when they don't go on."""
    server = victim(max_memory=MAX_MEMORY, ping_interval=None)
    with server.attacked(memory=BOUND):
        send_all(crowd(server, MAX_MEMORY // MIB * 7 // 8), UNFINISHED)
        eventually(lambda: server.report()["memory"] > MAX_MEMORY * 3 // 4)
        eventually(lambda: server.report()["memory"] <= MAX_MEMORY * 3 // 4)
        assert server.report()["memory_cuts"] > 0


def test_long_messages_of_a_crowd(victim):
    """More than there is memory for: all are read, as they are read in turns."""
    server = victim(max_memory=MAX_MEMORY, ping_interval=None)
    with server.attacked(memory=BOUND):
        peers = crowd(server, 2 * MAX_MEMORY // MIB)
        text = "length:" + "x" * (MIB - 100)
        send_all(peers, frame(TEXT, text.encode()))
        assert {peer.recv() for peer in peers} == {str(len(text))}
        assert server.report()["memory_cuts"] == 0
        assert server.report()["memory_pauses"] > 0


def test_replies_that_a_crowd_does_not_read(victim):
    """What is queued for it is bounded. A reply that is being made takes memory, too."""
    server = victim(max_memory=MAX_MEMORY, ping_interval=None)
    with server.attacked(memory=BOUND + 4 * LONG_REPLY // MIB, work=4):
        peers = crowd(server, 16)
        for peer in peers:
            peer.send_frames(frame(TEXT, b"big:%d" % LONG_REPLY))
        eventually(lambda: server.report()["memory_cuts"] > 0)


def test_broadcasts_that_a_crowd_does_not_read(victim):
    """They wait for all of it as one object each; those who read lose nothing."""
    server = victim(max_memory=MAX_MEMORY, ping_interval=None, send_timeout=60)
    with server.attacked(memory=BOUND):
        crowd(server, 30)
        speaker = server.connect(source=OTHER)
        for _ in range(100):
            speaker.send(f"room:{'x' * (MIB - 100)}")
            assert len(speaker.recv()) == MIB - 95
        assert server.report()["memory_cuts"] >= 30


def test_a_crowd_that_holds_much_gets_no_more_places(victim):
    server = victim(max_memory=MAX_MEMORY, ping_interval=None)
    with server.attacked(memory=BOUND):
        peers = crowd(server, 80)
        for _ in range(10):
            push_all([peer for peer in peers if not hasattr(peer, "done")])
        eventually(lambda: server.dial(request("/")).status == 503, LATE)
        assert server.connect(source=OTHER).status == 101

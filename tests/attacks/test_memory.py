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
UNFINISHED = b"\x82\xff" + struct.pack("!Q", MIB) + b"mask" + bytes(MIB - 1)
"""A message without its last byte."""


def push_all(peers):
    """Send what the system takes, until it takes no more or the peer is cut."""
    for peer in peers:
        if push(peer, UNFINISHED) is None or not peer.left:
            peer.done = True


def crowd(server, count=CROWD):
    return [server.connect() for _ in range(count)]


def test_unfinished_messages_of_a_crowd(victim):
    """They are read only in turns; who doesn't go on is cut."""
    server = victim(max_memory=MAX_MEMORY, ping_interval=None)
    with server.attacked(memory=BOUND):
        peers = crowd(server)
        for _ in range(30):
            push_all([peer for peer in peers if not hasattr(peer, "done")])
            server.report()
        eventually(lambda: server.report()["memory_cuts"] > 0, 3 * DEADLINE)


def test_replies_that_a_crowd_does_not_read(victim):
    """What is queued for it is bounded. A reply that is being made takes memory, too."""
    server = victim(max_memory=MAX_MEMORY, ping_interval=None)
    with server.attacked(memory=BOUND + 4 * LONG_REPLY // MIB, work=4):
        peers = crowd(server, 16)
        for peer in peers:
            peer.send_frames(frame(TEXT, b"big:%d" % LONG_REPLY))
        eventually(lambda: server.report()["memory_cuts"] > 0)


def test_a_crowd_that_holds_much_gets_no_more_places(victim):
    server = victim(max_memory=MAX_MEMORY, ping_interval=None)
    with server.attacked(memory=BOUND):
        peers = crowd(server, 80)
        for _ in range(10):
            push_all([peer for peer in peers if not hasattr(peer, "done")])
        eventually(lambda: server.dial(request("/")).status == 503, LATE)
        assert server.connect(source=OTHER).status == 101

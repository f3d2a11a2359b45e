"""A network that is cut or impaired, between peers at one end of a link and the server."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from tests.support.frames import TEXT, frame
from tests.support.packetlink import THERE, packet_link
from tests.support.rawclient import connect
from tests.support.waiting import LATE, eventually

MESSAGES = [f"{number}" + "x" * (number * 37 % 2000) for number in range(60)]
FRAMES = [frame(TEXT, text.encode()) for text in MESSAGES]


@pytest.fixture
def network(victim):
    """Start a server at the other end of a link, and return both."""
    with ExitStack() as stack:

        def start(impairments=(), **options):
            try:
                link = stack.enter_context(packet_link(**dict(impairments)))
            except (PermissionError, FileNotFoundError) as error:
                pytest.skip(f"needs network namespaces, and TUN devices: {error}")
            return link, link.there.run(victim, host=THERE, **options)

        yield start


def dial(link, server, count):
    return [link.here.run(connect, server.port, address=THERE) for _ in range(count)]


def all_comes(peers):
    """Check that each gets the echoes of all messages, once and in order."""
    for peer in peers:
        assert [peer.recv() for _ in MESSAGES] == MESSAGES
        peer.close()


@pytest.mark.parametrize("cut", [["there"], ["here"], ["there", "here"]], ids="-".join)
def test_cut(network, cut):
    """The server notices that peers are gone though nothing says so, whatever it was doing."""
    short = {"ping_interval": 0.5, "ping_timeout": 0.5, "send_timeout": 1.0, "close_timeout": 0.5}
    link, server = network(**short)
    peers = dial(link, server, 10)
    for peer in peers[:3]:
        peer.send("big:20000000")  # on its way when the link goes
    for peer in peers[3:6]:
        peer.sock.sendall(b"\x82\xff")  # in the middle of a frame
    eventually(lambda: server.report()["queued"])
    assert server.report()["connections"] == 10
    for to in cut:
        link.directions[to].cut = True
    for peer in peers[6:]:
        peer.send("is anybody there?")
    eventually(lambda: not server.report()["connections"], 2 + LATE)
    report = server.report()
    assert (report["opened"], report["closed"], report["closed_again"]) == (10, 10, 0)
    assert [to for to, direction in link.directions.items() if direction.counts["lost"]] == cut
    for to in cut:
        link.directions[to].cut = False
    for peer in peers:
        peer.close()
    (peer,) = dial(link, server, 1)
    peer.send_frames(*FRAMES)
    all_comes([peer])


SLOWED = {  # impairments, and how many packets they affect in each direction, at the least
    "a low rate": ({"rate": 500_000}, {"late": 100, "lost": 5}),
    "delay": ({"delay": 0.02, "jitter": 0.02}, {"late": 100}),
    "loss": ({"lost": 0.05}, {"lost": 5}),
    "another order": ({"delay": 0.01, "overtaking": 0.3}, {"overtaking": 20}),
    "doubles": ({"doubled": 0.2}, {"doubled": 20}),
    "flipped bits": ({"corrupted": 0.1}, {"corrupted": 5}),
    "small packets": ({"mtu": 100}, {"taken": 5000}),
    "some of each": (
        {"delay": 0.01, "lost": 0.02, "overtaking": 0.1, "doubled": 0.1, "corrupted": 0.02},
        {"late": 50, "lost": 1, "overtaking": 5, "doubled": 5, "corrupted": 1},
    ),
}


@pytest.mark.parametrize("how", SLOWED)
def test_slowed(network, how):
    """All messages arrive once and in order, though packets are late, lost, doubled or swapped."""
    impairments, least = SLOWED[how]
    link, server = network(impairments)
    started = time.monotonic()
    peers = dial(link, server, 5)
    for peer in peers:
        peer.send_frames(*FRAMES)
    all_comes(peers)
    assert time.monotonic() - started < 20
    for direction in link.directions.values():
        assert all(direction.counts[what] >= count for what, count in least.items()), (
            direction.counts
        )
    eventually(lambda: not server.report()["connections"])


def test_stalled(network):
    """A network that stalls for less than ping_timeout costs nobody the connection."""
    link, server = network(ping_interval=0.5, ping_timeout=5.0)
    peers = dial(link, server, 5)
    for peer in peers:
        peer.send_frames(*FRAMES[:30])
    end = time.monotonic() + 2
    for direction in link.directions.values():
        direction.stalled_until = end
    for peer in peers:
        peer.send_frames(*FRAMES[30:])
    all_comes(peers)
    assert time.monotonic() >= end
    for direction in link.directions.values():
        assert direction.counts["late"] > direction.counts["lost"] == 0
    eventually(lambda: server.report()["closed"] == 5)

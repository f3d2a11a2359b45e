"""The network cut and slowed, in a namespace of its own: for root on Linux, with iproute2."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest
import wsclient
from victim import Victim
from wsclient import connect, eventually

HERE, THERE = "10.213.7.1", "10.213.7.2"


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture
def link():
    """A network namespace, "ws-attacked", at the other end of a link, "ws-here"."""
    if not (sys.platform == "linux" and os.geteuid() == 0 and shutil.which("tc")):
        pytest.skip("needs root on Linux, and iproute2")
    try:
        ip("netns", "add", "ws-attacked")
    except subprocess.CalledProcessError:
        pytest.skip("network namespaces are not permitted here")
    try:
        ip("link", "add", "ws-here", "type", "veth", "peer", "name", "ws-there")
        ip("link", "set", "ws-there", "netns", "ws-attacked")
        ip("address", "add", f"{HERE}/24", "dev", "ws-here")
        ip("link", "set", "ws-here", "up")
        there = ("-n", "ws-attacked")
        ip(*there, "address", "add", f"{THERE}/24", "dev", "ws-there")
        ip(*there, "link", "set", "ws-there", "up")
        yield "ws-here"
        ip("link", "delete", "ws-here")
    finally:
        ip("netns", "delete", "ws-attacked")


@pytest.fixture
def remote(link):
    """Start a server at the other end."""
    servers = []

    def start(**options):
        servers.append(Victim(netns="ws-attacked", host=THERE, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.process.communicate(timeout=10)
        assert server.process.returncode == 0


def test_cut(link, remote):
    """Nothing says that the peers have gone, and yet the server notices, whatever it was at."""
    short = {"ping_interval": 0.5, "ping_timeout": 0.5, "send_timeout": 1.0, "close_timeout": 0.5}
    server = remote(**short)
    peers = [connect(server.port, address=THERE) for _ in range(10)]
    for peer in peers[:3]:
        peer.send("big:20000000")  # on its way when the link goes
    for peer in peers[3:6]:
        peer.sock.sendall(b"\x82\xff")  # in the middle of a frame
    eventually(lambda: server.report()["queued"])
    ip("link", "set", link, "down")
    eventually(lambda: not server.report()["connections"], 5)
    report = server.report()
    assert (report["opened"], report["closed"], report["closed_again"]) == (10, 10, 0)
    ip("link", "set", link, "up")
    for peer in peers:
        peer.close()
    with connect(server.port, address=THERE) as peer:
        peer.send("it works again")
        assert peer.recv() == "it works again"


@pytest.mark.parametrize(
    "queue",
    [
        "tbf rate 2mbit burst 5kb latency 20ms",  # which drops what comes faster
        "netem delay 30ms 20ms",
        "netem loss 10%",
        "netem reorder 30% delay 10ms",
        "netem duplicate 20%",
    ],
)
def test_slowed(link, remote, queue):
    """Late, in another order, twice or at the second attempt: all comes, once, and in order."""
    shaper = ["qdisc", "replace", "dev", "ws-there", "root", *queue.split()]
    if subprocess.run(["tc", "-n", "ws-attacked", *shaper], check=False).returncode:
        pytest.skip("this kernel doesn't know " + queue.split()[0])
    server = remote()
    peers = [connect(server.port, address=THERE) for _ in range(5)]
    messages = [f"{number}" + "x" * (number * 37 % 2000) for number in range(60)]
    for peer in peers:
        peer.send_frames(*[wsclient.frame(wsclient.TEXT, text.encode()) for text in messages])
    started = time.monotonic()
    for peer in peers:
        assert [peer.recv() for _ in messages] == messages
        peer.close()
    assert time.monotonic() - started < 20
    eventually(lambda: not server.report()["connections"])

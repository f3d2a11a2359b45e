"""Attacks by many connections: at once, without descriptors for them, and in succession."""

from __future__ import annotations

import socket
import struct
import time
import zlib
from collections import Counter
from contextlib import suppress

from tests.attacks.victim import gone
from tests.support.frames import BINARY, TEXT, close_frame, frame
from tests.support.heads import request
from tests.support.rawclient import RawClient
from tests.support.waiting import LATE, eventually

RESET = struct.pack("ii", 1, 0)
COUNT_LOOKS = """
from ws.engine.listen import Listener
on_readable, noted = Listener.on_readable, 0

def counted(listener):
    global noted
    noted += 1
    on_readable(listener)

Listener.on_readable = counted
"""


def test_many_connections_from_one_address(victim):
    server = victim(max_clients_per_address=50)
    with server.attacked():
        peers = [server.dial(request(), source="127.0.0.2") for _ in range(80)]
        assert [peer.status for peer in peers] == [101] * 50 + [429] * 30
        assert server.connect(source="127.0.0.3"), "others still get in"


def test_many_connections_from_many_addresses(victim):
    server = victim(max_clients=100)
    with server.attacked():
        room = 100 - 3
        peers = [server.dial(request(), source=f"127.0.1.{n}") for n in range(1, room + 31)]
        assert [peer.status for peer in peers] == [101] * room + [503] * 30


def test_connections_beyond_count(victim):
    """Far over the limit, connections are closed without an answer, which costs nothing."""
    server = victim(max_clients=50, max_clients_per_address=50)
    with server.attacked():
        _, _, before = server.usage()
        peers = [server.dial() for _ in range(400)]
        eventually(lambda: sum(map(gone, peers)) >= 400 - 47 - 100, LATE)  # before open_timeout
        assert server.usage()[2] - before <= 150


def test_addresses_of_one_network(victim):
    """One host has all addresses of an IPv6 network (/64); they count as one."""
    server = victim(max_clients_per_address=10, trusted_proxies="127.0.0.0/8")
    with server.attacked():
        heads = [request("/", f"X-Forwarded-For: 2001:db8::{number:x}") for number in range(300)]
        statuses = []
        for head in heads:
            with suppress(EOFError, ConnectionError):  # far over the limit: there is no answer
                statuses.append(server.dial(head).status)
        assert statuses == [101] * 10 + [429] * 100
        assert server.connect("X-Forwarded-For: 2001:db8:0:1::"), "another network still gets in"


def test_descriptors_for_the_application(victim):
    """A crowd can't take the last descriptors: the application can still open its files."""
    server = victim(ulimit=256, open_timeout=60)
    with server.attacked():
        client = server.connect()
        assert "leaves room for only" in server.report()["lines"][0]
        statuses = Counter()
        for number in range(400):
            with suppress(EOFError, ConnectionError):
                statuses[server.dial(request(), source=f"127.0.1.{number // 8}").status] += 1
            if not number % 50:
                client.send("open:")
                assert client.recv().startswith('"""The server under attack')
        assert 150 < statuses[101] < 256 - 32 and statuses[503] > 10, statuses
        client.send("open:")
        assert client.recv().startswith('"""The server under attack')
        assert server.report()["log"].get("ERROR", 0) == 0


def test_descriptor_exhaustion(victim):
    """When descriptors run out, new connections wait, nothing spins, and others go on."""
    server = victim(nofile=60)
    with server.attacked():
        server.report(COUNT_LOOKS)
        peers = [server.dial() for _ in range(100)]
        eventually(lambda: "can't accept" in str(server.report()["lines"]))
        looks, started = server.report()["noted"], time.monotonic()
        eventually(lambda: time.monotonic() - started > 1)
        assert server.report()["noted"] - looks <= 5, "attempts to accept in one second"
        for peer in peers:
            peer.close()
        assert server.connect(), "it accepts again"


def test_churn(victim):
    """Connections that end at any point, in any way, leave no memory in use."""
    server = victim(compression=True, close_timeout=0.5)
    half = frame(BINARY, bytes(200_000), fin=False)
    squeezed = zlib.compress(bytes(200_000), 1)[2:-4]
    ends = [
        lambda peer: peer.send_frames(close_frame()),
        lambda peer: peer.send_frames(half),
        lambda peer: peer.send_frames(half[:-1]),
        lambda peer: peer.send_frames(frame(BINARY, squeezed, rsv=4, fin=False)),
        lambda peer: peer.send_frames(b"\xff\xff"),
        lambda peer: peer.send(f"room:{'x' * 1000}"),
    ]
    offer = "Sec-WebSocket-Extensions: permessage-deflate"
    with server.attacked():
        for number in range(600):
            with RawClient(server.port, request(f"/{number}", offer)) as peer:
                ends[number % len(ends)](peer)
                if number % 2:
                    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def test_abrupt_ends_cost_no_cpu(victim):
    """A connection that was reset is no longer polled."""
    server = victim()
    with server.attacked():
        pass
    peers = [server.connect() for _ in range(50)]
    for peer in peers:
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        peer.close()
    eventually(lambda: not server.report()["connections"])
    cpu, started = server.cpu(), time.monotonic()
    eventually(lambda: time.monotonic() - started > 0.5)
    assert server.cpu() - cpu < 0.1, "seconds of CPU time in half a second"


def test_compression_contexts(victim):
    """Between messages, compression holds the window of what came, and no compressor: 42 KiB."""
    server = victim(compression=True)
    squeezed = zlib.compressobj(wbits=-15)
    data = squeezed.compress(bytes(range(256)) * 200) + squeezed.flush(zlib.Z_SYNC_FLUSH)
    fields = ("Sec-WebSocket-Extensions: permessage-deflate", "User-Agent: x")
    with server.attacked(memory=20):
        for _ in range(300):
            peer = server.connect(*fields)
            peer.send_frames(frame(BINARY, data[:-4], rsv=4), frame(TEXT, b"x"))
        eventually(lambda: server.report()["messages_in"] >= 600)

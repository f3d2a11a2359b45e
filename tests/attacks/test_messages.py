"""Attacks by frames and messages: large, unfinished, compressed, or very many."""

from __future__ import annotations

import socket
import struct
import time

import pytest

from tests.attacks.victim import gone, push
from tests.support.deflated import EIGHT_EMPTY_BLOCKS, squeeze
from tests.support.frames import BINARY, CLOSE, CONT, PING, PONG, TEXT, close_frame, frame
from tests.support.waiting import LATE, eventually

MIB = 1 << 20
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"


FAIR = 0.2
"""Seconds of CPU time that a flood may delay others; three times what it does."""


def flood(server, peers, data, seconds):
    """Have all peers send *data* for some seconds, and read the replies."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for peer in peers:
            push(peer, data)
            assert not gone(peer)


@pytest.mark.parametrize("size", [MIB + 1, 1 << 40, (1 << 63) - 1, 1 << 63])
def test_declared_but_never_sent(victim, size):
    server = victim()
    with server.attacked():
        for _ in range(20):
            peer = server.connect()
            peer.sock.sendall(b"\x82\xff" + struct.pack("!Q", size))
            assert peer.recv()[0] == (1009 if size < 1 << 63 else 1002)


def test_unfinished_messages(victim):
    """An unfinished message takes memory for what has come, at most `max_message_size`."""
    server = victim(max_message_size=MIB // 4)
    start = b"\x82\xff" + struct.pack("!Q", MIB // 4) + b"mask"
    with server.attacked(memory=10):
        for _ in range(200):
            server.connect().sock.sendall(start)
        for _ in range(20):
            peer = server.connect()
            for _ in range(10):
                peer.send_frames(frame(CONT if peer.buffer else BINARY, bytes(MIB // 8), fin=False))
                peer.buffer = b"begun"


def test_unfinished_text(victim):
    """A kilobyte that inflates to a mebibyte of text takes a mebibyte, not four.

    One wide character makes all the others of a str take four bytes.
    """
    server = victim(compression=True)
    text = squeeze("\N{GRINNING FACE}".encode() + b"x" * (MIB - 4))
    with server.attacked(memory=40):
        for _ in range(20):
            peer = server.connect(DEFLATE)
            peer.send_frames(frame(TEXT, text, fin=False, rsv=4), frame(PING))
            assert peer.recv_frame()[0] == PONG


@pytest.mark.parametrize("size", [0, 1], ids=["empty", "tiny"])
def test_fragments(victim, size):
    """Many fragments of little or no size are refused by their number."""
    server = victim()
    fragment = frame(CONT, b"x" * size, fin=False)
    with server.attacked():
        for _ in range(2):
            peer = server.connect()
            peer.send_frames(frame(BINARY, fin=False))
            for _ in range(150):
                push(peer, fragment * 1000)
            peer.sock.sendall(peer.left + fragment * 150_000)
            assert peer.recv() == (1009, "message of over 131072 fragments")


def test_bomb(victim):
    """64 KiB that inflate to 64 MiB are refused."""
    server = victim(compression=True)
    bomb = frame(BINARY, squeeze(bytes(64 * MIB)), rsv=4)
    with server.attacked():
        for _ in range(5):
            peer = server.connect(DEFLATE)
            peer.send_frames(bomb)
            assert peer.recv()[0] == 1009


def test_bomb_in_fragments(victim):
    """Fragments that inflate to less than a mebibyte each, and to 50 together, are refused."""
    server = victim(compression=True)
    data = squeeze(bytes(50 * MIB))
    parts = [data[at : at + 500] for at in range(0, len(data), 500)]
    with server.attacked():
        for _ in range(5):
            peer = server.connect(DEFLATE)
            for number, part in enumerate(parts):
                last = number == len(parts) - 1
                push(peer, frame(CONT if number else BINARY, part, last, rsv=0 if number else 4))
            assert peer.recv()[0] == 1009


def test_bombs_within_the_limit(victim):
    """Messages of a kilobyte that all inflate to a mebibyte: others come between.

    On a busy machine all peers may be in callbacks at once. A peer then holds a message of one MiB,
    the callback's copy of it, and 256 KiB of input: 11.25 MiB for five peers. A message that is
    being inflated takes up to four more, as bytes and as text.
    """
    server = victim(compression=True)
    bomb = frame(TEXT, squeeze(b"length:" + b"x" * (MIB - 100)), rsv=4)
    with server.attacked(memory=16, work=FAIR):
        flood(server, [server.connect(DEFLATE) for _ in range(5)], bomb * 60, 2)


def test_read_ahead(victim):
    """Messages that wait for their callback are bounded in bytes after inflating."""
    server = victim(compression=True)
    bomb = frame(BINARY, squeeze(bytes(MIB)), rsv=4)
    with server.attacked(memory=50, latency=8, work=1):
        peers = [server.connect(DEFLATE) for _ in range(20)]
        for peer in peers:
            peer.send("sleep:0.5")
            peer.send_frames(*[bomb] * 16)
        for peer in peers:
            assert peer.recv() == "sleep:0.5"


@pytest.mark.parametrize("opcode", [PING, PONG])
def test_ping_flood(victim, opcode):
    """A flood of pings or pongs delays nobody for long, and starts no threads."""
    server = victim()
    with server.attacked(work=FAIR):
        data = frame(opcode) * 200_000
        flood(server, [server.connect() for _ in range(20)], data, 2)


def test_ping_flood_unread(victim):
    """Pongs that a peer doesn't read don't pile up."""
    server = victim()
    with server.attacked():
        peer = server.connect()
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        pings = frame(PING, bytes(125)) * 1000
        for _ in range(200):
            peer.sock.sendall(pings)
        assert server.report()["queued"] < MIB // 2


def test_message_flood(victim):
    """A flood of the smallest messages delays nobody for long."""
    server = victim()
    with server.attacked(work=FAIR):
        data = frame(TEXT, b"x") * 200_000
        flood(server, [server.connect() for _ in range(20)], data, 2)


def test_close_flood(victim):
    """Thousands of close frames get one answer, and one onclose."""
    server = victim(close_timeout=0.5)
    with server.attacked():
        for _ in range(10):
            peer = server.connect()
            peer.send_frames(*[close_frame(1000 + n % 4) for n in range(2)] * 1000)
            assert peer.recv_frame()[0] == CLOSE
            assert peer.at_eof()


def test_close_that_is_never_finished(victim):
    """Peers that keep TCP open after the close frames, or don't answer one, are cut."""
    server = victim(close_timeout=0.5)
    with server.attacked():
        peers = [server.connect() for _ in range(50)]
        ends = [close_frame(), b"\xff\xff", frame(TEXT, b"close:")]
        for number, peer in enumerate(peers):
            peer.send_frames(ends[number % len(ends)])
        eventually(lambda: server.report()["connections"] == 3, 0.5 + LATE)


@pytest.mark.parametrize("text", ["x", "ж"])
def test_crumbs_within_raised_limits(victim, text):
    """Fragments of one byte take linear time and little memory, however many may come."""
    server = victim(max_message_size=64 * MIB, max_fragments=10**9)
    octets = [bytes([octet]) for octet in text.encode() * (100_000 // len(text.encode()))]
    crumbs = b"".join(frame(CONT, octet, fin=False, key=b"mask") for octet in octets)
    with server.attacked():
        for _ in range(5):
            peer = server.connect()
            cpu = server.cpu()
            peer.send_frames(frame(TEXT, b"length:", fin=False), crumbs, frame(PING))
            assert peer.recv_frame()[0] == PONG
            assert server.cpu() - cpu < 1, "seconds of CPU time for 700 kB"
            peer.send_frames(frame(CONT))
            assert peer.recv() == str(100_000 // len(text.encode()) + len("length:"))


def test_deflated_nothing(victim):
    """Deflate that comes to nothing is work: 260 kB that take zlib 20 ms don't hold up others."""
    server = victim(compression=True)
    data = frame(BINARY, EIGHT_EMPTY_BLOCKS * 2800 + b"\0", rsv=4) * 4
    with server.attacked(memory=24, work=2 * FAIR):
        flood(server, [server.connect(DEFLATE) for _ in range(30)], data, 2)


def test_masking(victim):
    """Payloads are unmasked quickly, in pieces of bounded size, whatever the key."""
    server = victim()
    big = b"length:" + b"x" * (MIB - 100)
    with server.attacked(memory=40):
        for key in (bytes(4), b"\xff\0\xff\0"):
            data = frame(TEXT, big, key=key)
            flood(server, [server.connect() for _ in range(8)], data, 1)


def test_garbage(victim):
    """Bytes that aren't frames end only their own connection."""
    server = victim(close_timeout=0.5)
    with server.attacked():
        for number in range(300):
            peer = server.connect()
            push(peer, bytes((number * 7919 + n * n) % 251 | 0x70 for n in range(500)))
            assert peer.recv()[0] == 1002

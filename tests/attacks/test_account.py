"""How far the account of what connections hold is from what the process takes."""

from __future__ import annotations

import os
import socket
import threading
import time
import zlib

import pytest

from tests.support.frames import BINARY, CONT, TEXT, frame
from tests.support.heads import request
from tests.support.waiting import eventually

MIB = 1 << 20
FACTOR = 1.5
"""By which the account may differ from what the process takes."""
OFFER = "Sec-WebSocket-Extensions: permessage-deflate"
PATIENT = {"ping_interval": None, "send_timeout": 600, "open_timeout": 600, "close_timeout": 600}
SHRINK = """
import socket
for client in server.clients:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
"""
WIDE = "a" * 99 + "\U0001f600"
"""Text of which each character takes four bytes in a str, and hardly more than one in UTF-8."""


def crowd(server, count, *fields):
    """Return peers for whom the system buffers little."""
    peers = [server.connect(*fields) for _ in range(count)]
    for peer in peers:
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    server.report(SHRINK)
    return peers


def squeeze(data):
    """Return a message compressed."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)


def send_all(peers, data):
    """Have each peer send *data*; those that were cut stop."""

    def run(peer):
        try:
            peer.sock.sendall(data)
        except OSError:
            pass

    threads = [threading.Thread(target=run, args=(peer,), daemon=True) for peer in peers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# What connections can hold, each in its own way


def unfinished(payload, opcode=BINARY, count=30, **options):
    def fill(server):
        fields = (OFFER,) if options else ()
        send_all(crowd(server, count, *fields), frame(opcode, payload, fin=False, **options))

    return fill


def crumbs(server):
    send_all(
        crowd(server, 20), frame(BINARY, b"x", fin=False) + frame(CONT, b"x", fin=False) * 99_999
    )


def replies(size, count, peers=5):
    def fill(server):
        send_all(crowd(server, peers), frame(BINARY, bytes(size)) * count)

    return fill


def large_replies(server):
    send_all(crowd(server, 10), frame(TEXT, b"big:%d" % MIB) * 5)


def broadcasts(size, count):
    def fill(server):
        crowd(server, 30)
        speaker = server.connect()
        for _ in range(count):
            speaker.send(f"all:{'x' * size}")
            assert speaker.recv()

    return fill


def pages(server):
    server.report('globals()["PAGE"] = Response(200, "x" * (32 << 20))')
    for _ in range(20):
        peer = server.dial()
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.sock.sendall(request("/page"))


def heads(complete):
    def fill(server):
        head = request("/", *(f"X-Field-{number}: {'v' * 130}" for number in range(90)))
        for _ in range(300):
            server.dial(head if complete else None).sock.sendall(b"" if complete else head[:-2])

    return fill


def waiting_for_callbacks(server):
    peers = crowd(server, 30)
    send_all(peers, frame(TEXT, b"sleep:60"))
    eventually(lambda: server.report()["messages_in"] >= 4)
    send_all(peers, frame(TEXT, f"length:{WIDE * 8000}".encode()))


def contexts(server):
    for peer in crowd(server, 100, OFFER):
        peer.send_frames(frame(BINARY, squeeze(os.urandom(100) * 300), rsv=4))


FILLS = {
    "binary": unfinished(os.urandom(900_000)),
    "text": unfinished(b"a" * 900_000, TEXT),
    "wide text": unfinished((WIDE * 8000).encode(), TEXT),
    "bombs": unfinished(squeeze(bytes(900_000)), rsv=4),
    "crumbs": crumbs,
    "tiny replies": replies(2, 150_000),
    "small replies": replies(200, 30_000),
    "replies": replies(10_000, 600),
    "large replies": large_replies,
    "small broadcasts": broadcasts(60, 4000),
    "broadcasts": broadcasts(1000, 4000),
    "large broadcasts": broadcasts(MIB - 100, 30),
    "pages": pages,
    "incomplete heads": heads(False),
    "complete heads": heads(True),
    "messages for callbacks": waiting_for_callbacks,
    "contexts": contexts,
}


def settled(server):
    """Return the account when it no longer changes."""
    before = -1
    while True:
        held = server.report()["memory"]
        if held == before:
            return held
        before = held
        time.sleep(0.5)


@pytest.mark.timeout(240)  # what it fills takes long on a busy machine
@pytest.mark.parametrize("fill", FILLS)
def test_account(victim, fill):
    """What the account says is what the process takes, whatever connections hold."""
    options = {"max_memory": 1 << 34, "max_queue_size": 1 << 28, **PATIENT}
    compression = fill in ("bombs", "contexts")
    server = victim(threads=4, compression=compression, **options)
    for peer in [server.connect() for _ in range(10)]:
        peer.send("warm up")
        assert peer.recv() == "warm up"
    idle = server.usage()[0]
    FILLS[fill](server)
    account = settled(server) / MIB
    taken = server.usage()[0] - idle
    print(f"{fill}: {account:.1f} MiB counted, {taken:.1f} taken: {taken / account:.2f}")
    slack = 0.01 * server.report()["connections"]  # a connection by itself takes some KiB
    assert account / FACTOR - 1 <= taken <= account * FACTOR + 1 + slack

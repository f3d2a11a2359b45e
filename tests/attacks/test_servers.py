"""Attacks by a server against its clients: what they hold, and what others of the process wait."""

from __future__ import annotations

import sys
import time
import zlib

import pytest

from tests.support.frames import PING, PONG, TEXT
from tests.support.processes import SMALL_HEAP, Program
from tests.support.rawserver import RawServer
from tests.support.waiting import DEADLINE, eventually
from ws.wire.frames import frame

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MIB = 1 << 20
HOLDING = """
import sys
from ws import WSClient
client = WSClient(sys.argv[1], proxy=None, compression=True, keep_memory=False).start()
print("open", flush=True)
for line in sys.stdin:
    try:
        print(len(client.recv(int(line))), flush=True)
    except Exception as error:
        print(type(error).__name__, flush=True)
"""
"""A client that takes a message for each line of its input, and none before."""


def bomb(size=MIB):
    """Return a compressed message."""
    compressor = zlib.compressobj(9, wbits=-15)
    data = compressor.compress(bytes(size)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return frame(0x40 | 2, data[:-4])


@pytest.mark.parametrize("kind", ["plain", "bombs", "tiny"])
def test_messages_that_nobody_takes(kind):
    """They wait in TCP: a client holds 16 messages, or 64 KiB of them and one more."""
    extension = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover"
    data = {"plain": frame(2, bytes(MIB // 16)), "bombs": bomb(), "tiny": frame(TEXT, b"x") * 1000}
    sent = []

    def script(peer):
        peer.accept(extension)
        while True:
            peer.send(data[kind])
            sent.append(1)

    with RawServer(script) as server:
        command = [sys.executable, "-c", HOLDING, server.url]
        with Program(command, talks=True, env=SMALL_HEAP) as program:
            assert program.read_line() == "open\n"
            time.sleep(0.5)
            before = program.usage()[0]
            time.sleep(1.0)
            count, cpu = len(sent), program.cpu()
            time.sleep(1.0)
            assert program.usage()[0] < 32 + before
            assert program.usage()[0] < 64
            assert len(sent) < count + 10, "the server is held back"
            assert program.cpu() - cpu < 0.2, "and the client waits"
            size = {"plain": MIB // 16, "bombs": MIB, "tiny": 1}[kind]
            for _ in range(40):
                assert program.ask(str(DEADLINE).partition(".")[0]) == f"{size}\n"


def test_pongs_that_are_not_read():
    """A client drops pongs that a server asks for, but doesn't read."""

    def flood(peer):
        peer.accept()
        while True:
            peer.send(frame(PING, bytes(125)) * 100)

    with RawServer(flood) as server:
        command = [sys.executable, "-c", HOLDING, server.url]
        with Program(command, talks=True, env=SMALL_HEAP) as program:
            assert program.read_line() == "open\n"
            time.sleep(2.0)
            assert program.usage()[0] < 48


def test_a_message_that_is_too_large():
    """It is refused by its declared length, or where inflating it exceeds the limit."""
    codes = []
    extension = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover"

    def large(data):
        def script(peer):
            peer.accept(extension)
            peer.send(data)
            while True:
                opcode, payload = peer.recv_frame()
                if opcode != PONG:
                    codes.append(int.from_bytes(payload[:2], "big"))
                    return

        return script

    scripts = large(b"\x82\x7f\0\0\0\xff\0\0\0\0"), large(bomb(64 * MIB))
    for script in scripts:
        with RawServer(script) as server:
            command = [sys.executable, "-c", HOLDING, server.url]
            with Program(command, talks=True, env=SMALL_HEAP) as program:
                assert program.read_line() == "open\n"
                assert program.ask(str(int(DEADLINE))) == "ConnectionClosed\n"
                assert program.usage()[0] < 48
    eventually(lambda: codes == [1009, 1009])

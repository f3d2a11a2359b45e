"""What a server says that its clients hold, beside what they do hold."""

from __future__ import annotations

from tests.support.frames import BINARY, TEXT, frame
from tests.support.waiting import eventually


def test_input_that_waits_for_a_callback_counts_once(serve, gate):
    """Behind a callback that blocks, messages wait, and the rest of what was read with them."""
    serving = serve()
    serving.gated(gate)
    peer, _ = serving.connect()
    sent = frame(TEXT, b"wait") + frame(BINARY, bytes(3000)) * 20
    peer.sock.sendall(sent)
    eventually(lambda: serving.server.stats()["memory"] >= len(sent) // 2)
    assert serving.server.stats()["memory"] <= 1.9 * len(sent), "it, and copies of 16 messages"
    gate.set()
    assert peer.recv() == "wait"
    for _ in range(20):
        assert peer.recv() == bytes(3000)
    eventually(lambda: serving.server.stats()["memory"] < 10_000)

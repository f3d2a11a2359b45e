"""What a server says that its clients hold, beside what they do hold."""

from __future__ import annotations

import contextlib
import threading

from tests.support.frames import BINARY, TEXT, frame
from tests.support.heads import request
from tests.support.rawclient import RawClient
from tests.support.waiting import DEADLINE, LATE, eventually
from ws.engine.connection import Connection
from ws.engine.loop import Source
from ws.wire.protocol import Protocol

MIB = 1 << 20
UNFINISHED = frame(BINARY, bytes(9000))[:-1]


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


def test_messages_that_wait_for_callbacks_make_room_for_others(serve, gate, monkeypatch):
    """However long callbacks block, what waits for them stays within `max_memory`."""
    monkeypatch.setattr("ws.engine.overload.PAUSE_SECONDS", 0.5)
    serving = serve(max_memory=8 * MIB, threads=1, ping_interval=None)
    serving.gated(gate)

    def send(peer):
        with contextlib.suppress(OSError):  # it is cut
            peer.sock.sendall(message)

    (blocker, _), *others = [serving.connect() for _ in range(19)]
    blocker.send("wait")
    message = frame(BINARY, bytes(MIB))
    senders = [threading.Thread(target=send, args=(peer,)) for peer, _ in others]
    for sender in senders:
        sender.start()
    eventually(lambda: serving.server.stats()["memory_cuts"] >= 5)
    eventually(lambda: serving.server.stats()["memory"] <= 8 * MIB, LATE)
    gate.set()
    assert blocker.recv() == "wait"
    for sender in senders:
        sender.join(DEADLINE)


def test_nothing_counts_for_a_connection_that_ends_while_it_is_counted(serve, gate, monkeypatch):
    """A worker disposes of it, just as the leader takes account of its unfinished message."""
    serving = serve()
    serving.gated(gate)
    left = threading.Event()
    held = Protocol.held.fget

    def held_by_one_that_ends(protocol):
        size = held(protocol)
        if size and left.is_set() and not gate.is_set():
            gate.set()
            with contextlib.suppress(AssertionError):  # it can't end before this returns
                eventually(lambda: not serving.active, 0.2)
        return size

    monkeypatch.setattr(Protocol, "held", property(held_by_one_that_ends))
    peer, _ = serving.connect()
    peer.send_frames(frame(TEXT, b"wait"), UNFINISHED)
    eventually(lambda: serving.server.stats()["memory"] > 9000)
    left.set()
    peer.close()
    assert gate.wait(DEADLINE)
    eventually(lambda: not serving.active)
    other, _ = RawClient(serving.port, request()), serving.next("close")
    other.send("after that")
    assert other.recv() == "after that"
    eventually(lambda: not serving.server.stats()["memory"], LATE)


def test_an_event_that_has_been_handled_while_it_is_counted(serve, gate, monkeypatch):
    """The client isn't harmed."""
    serving = serve()
    inside, counting = threading.Event(), threading.Event()
    slot = Source.current

    @serving.server.onmessage
    def wait(client, message):
        inside.set()
        gate.wait(DEADLINE)

    def current(connection):
        event = slot.__get__(connection)
        if event and counting.is_set() and not gate.is_set():
            gate.set()
            eventually(lambda: slot.__get__(connection) is None)
        return event

    monkeypatch.setattr(Connection, "current", property(current, slot.__set__), raising=False)
    peer, _ = serving.connect()
    peer.send("wait")
    assert inside.wait(DEADLINE)
    eventually(lambda: serving.server.stats()["memory"])  # as a worker's
    counting.set()
    peer.send_frames(UNFINISHED)
    assert gate.wait(DEADLINE)
    serving.server.onmessage(serving.server.send)
    peer.send_frames(bytes(1))
    assert len(peer.recv()) == 9000

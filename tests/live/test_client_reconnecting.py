"""WSClient with reconnect=True: when it connects again, when not, and what is lost."""

from __future__ import annotations

import re
import time

import pytest

from tests.support.frames import TEXT
from tests.support.waiting import DEADLINE, LATE, eventually
from ws import HandshakeRefused, WSClient
from ws.engine.log import Warnings


def reconnecting(url, **options):
    client = WSClient(url, proxy=None, reconnect=True, **options)
    events = []
    client.onopen(lambda: events.append("open"))
    client.onmessage(events.append)
    client.onclose(lambda: events.append(client.close_code))
    client.onerror(events.append)
    return client, events


def test_reconnecting(raw, monkeypatch):
    monkeypatch.setattr("ws.session.FIRST_RETRY_SECONDS", 0.05)

    def lost(peer):
        peer.accept()
        peer.send_frame(TEXT, b"first")

    def busy(peer):
        peer.read_head()
        peer.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")

    def closed(peer):
        peer.accept()
        peer.close(1012)

    def good(peer):
        peer.accept()
        peer.send_frame(TEXT, b"second")
        peer.echo_close()

    client, events = reconnecting(raw(lost, busy, closed, good))
    client.start()
    eventually(lambda: "second" in events)
    assert client.close() is True
    eventually(lambda: len(events) == 9)
    refusal = events.pop(3)
    assert isinstance(refusal, HandshakeRefused)
    assert events == ["open", "first", 1006, "open", 1012, "open", "second", 1000]


def test_reconnecting_ends_for_good(raw, monkeypatch):
    monkeypatch.setattr("ws.session.FIRST_RETRY_SECONDS", 0.05)

    def forbidden(peer):
        peer.read_head()
        peer.send(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")

    client, events = reconnecting(raw(lambda peer: peer.accept(), forbidden))
    with pytest.raises(HandshakeRefused, match="403"):
        client.run()
    assert client.close() is False
    assert events[:2] == ["open", 1006]


def test_reconnecting_to_nobody(monkeypatch, caplog):
    monkeypatch.setattr("ws.session.FIRST_RETRY_SECONDS", 0.02)
    monkeypatch.setattr("ws.session._warnings", Warnings())
    client, events = reconnecting("ws://127.0.0.1:1/")
    client.start()
    eventually(lambda: len(events) >= 3)
    assert all(isinstance(error, ConnectionRefusedError) for error in events)
    (said,) = caplog.records  # at a limited rate
    assert (said.levelname, said.name) == ("WARNING", "ws")
    assert re.match(r"can't connect to ws://127\.0\.0\.1:1/: .*refused", said.getMessage())
    assert client.send("x") is False
    begun = time.monotonic()
    assert client.close() is False
    assert time.monotonic() - begun < LATE


def test_pauses_grow_and_are_bounded(monkeypatch):
    bounds = []
    monkeypatch.setattr("random.uniform", lambda low, high: bounds.append(high) or 0.0)
    client, events = reconnecting("ws://127.0.0.1:1/")
    client.start()
    eventually(lambda: len(bounds) >= 9)
    client.close()
    assert bounds[:9] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_close_while_connecting(raw):
    client, events = reconnecting(raw(lambda peer: peer.at_eof()))
    client.start()
    time.sleep(0.1)
    begun = time.monotonic()
    client.close()
    assert time.monotonic() - begun < LATE
    assert events == []


def test_lost_messages_are_said_to_be(raw, gate, monkeypatch, caplog):
    monkeypatch.setattr("ws.session.FIRST_RETRY_SECONDS", 0.05)
    got = []

    def reader(peer):
        peer.accept()
        try:
            while True:
                got.append(peer.recv_frame())
        finally:
            peer.reset()

    client, events = reconnecting(
        raw(lambda peer: (peer.accept(), gate.wait(DEADLINE), peer.reset()), reader),
        max_queue_size=10_000_000,
    )
    with client:
        eventually(lambda: events == ["open"])
        for _ in range(9):
            assert client.send(b"x" * 1_000_000) is True
        gate.set()
        eventually(lambda: events[1:] == [1006, "open"])
        assert client.unsent > 1_000_000
        assert f"{client.unsent} bytes unsent" in caplog.text
        assert got == []

"""WSClient with callbacks, and many clients in one process."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from tests.support.waiting import DEADLINE, eventually
from ws import WSClient
from ws.engine import shared


class Noting:
    """A client that notes what its callbacks are called with."""

    def __init__(self, url, **options):
        self.client = WSClient(url, **options)
        self.events = []
        self.client.onopen(lambda: self.events.append("open"))
        self.client.onmessage(self.events.append)
        self.client.onclose(lambda: self.events.append(self.client.close_code))
        self.client.onerror(self.events.append)


def test_callbacks(serve):
    serving = serve()
    noting = Noting(serving.server.url)
    with noting.client as client:
        client.send("a")
        client.send(b"b")
        eventually(lambda: len(noting.events) == 3)
    assert eventually(lambda: len(noting.events) == 4)
    assert noting.events == ["open", "a", b"b", 1000]
    with pytest.raises(RuntimeError, match="onmessage"):
        client.recv()


def test_onopen_comes_before_messages(serve):
    serving = serve()
    serving.server.onopen(lambda client: serving.server.send(client, "welcome"))
    noting = Noting(serving.server.url)
    with noting.client:
        eventually(lambda: len(noting.events) == 2)
    assert noting.events[:2] == ["open", "welcome"]


def test_callbacks_may_block_and_send(serve, gate):
    serving = serve()
    client = WSClient(serving.server.url)
    got = []

    @client.onmessage
    def answer(message):
        got.append(message)
        if message == "wait":
            gate.wait(DEADLINE)
            client.send("done")

    with client:
        client.send("wait")
        eventually(lambda: got)
        with WSClient(serving.server.url) as other:  # isn't held up by it
            other.send("x")
            assert other.recv(DEADLINE) == "x"
        gate.set()
        eventually(lambda: got == ["wait", "done"])


def test_a_callback_that_raises_closes_with_1011(serve, caplog):
    serving = serve()
    noting = Noting(serving.server.url)
    error = ValueError("x")

    @noting.client.onmessage
    def fail(message):
        raise error

    with noting.client as client:
        peer = serving.next("open")
        client.send("a")
        assert serving.next("close") is peer
    assert peer.close_code == 1011
    assert error in noting.events
    assert "raised" in caplog.text


def test_close_in_a_callback_does_not_wait_for_itself(serve):
    serving = serve()
    client = WSClient(serving.server.url)
    closed = threading.Event()
    client.onclose(closed.set)

    @client.onmessage
    def stop(message):
        assert client.close(4000) is True

    client.start()
    client.send("stop")
    assert closed.wait(DEADLINE)
    assert client.close_code == 4000


def test_run_returns_at_the_end(serve):
    serving = serve()
    client = WSClient(serving.server.url)
    client.onopen(lambda: client.send("stop"))
    client.onmessage(lambda message: client.close())
    client.run()
    assert client.close_code == 1000


def test_shutdown_says_1001(serve):
    serving = serve()
    client = WSClient(serving.server.url).start()
    peer = serving.next("open")
    assert client.shutdown() is True
    serving.next("close")
    assert peer.close_code == 1001


# All together


def test_clients_share_a_few_threads_and_leave_none(serve):
    serving = serve()
    eventually(lambda: shared._engine is None, what="the end of other tests' clients")
    before = threading.active_count()
    clients = [WSClient(serving.server.url).start() for _ in range(50)]
    assert threading.active_count() - before <= 5
    for client in clients:
        client.send("x")
    for client in clients:
        assert client.recv(DEADLINE) == "x"
    for client in clients:
        client.close()
    eventually(lambda: shared._engine is None)
    eventually(lambda: threading.active_count() <= before)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_wakes_up_while_nothing_happens(serve):
    serving = serve()
    with WSClient(serving.server.url) as client:
        client.send("x")
        client.recv(DEADLINE)
        time.sleep(1.0)
        begun = time.process_time()
        time.sleep(1.0)
        assert time.process_time() - begun < 0.02

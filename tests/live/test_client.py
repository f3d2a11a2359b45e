"""WSClient against our own server, blocking: messages, endings, TLS, Unix sockets, options."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from tests.support.certificates import trusting_context
from tests.support.frames import BINARY
from tests.support.waiting import DEADLINE, LATE, eventually
from ws import Compression, ConnectionClosed, HandshakeRefused, Response, WSClient, WSServer


@pytest.fixture
def connect(serve):
    """Start an echo server, and return a client of it, both with options."""
    clients = []

    def start(server=None, **options):
        serving = serve(**(server or {}))
        url = options.pop("url", serving.server.url)
        options.setdefault("proxy", None)
        client = WSClient(url, **options)
        clients.append(client)
        client.serving = serving
        return client.start()

    yield start
    for client in clients:
        client.close()


# Blocking


@pytest.mark.parametrize(
    "message", ["hello", "", "é" * 1000, b"\0\xff", b"", b"x" * 900_000, "x" * 70_000]
)
def test_messages_come_back(connect, message):
    client = connect()
    assert client.send(message) is True
    assert client.recv(DEADLINE) == message


def test_buffers_and_fragments(connect):
    client = connect()
    client.send(bytearray(b"abc"))
    client.send(memoryview(b"abc")[::2])
    client.send(["a", "", "é"])
    client.send(iter([b"a", b"b"]))
    client.send([])
    assert [client.recv(DEADLINE) for _ in range(5)] == [b"abc", b"ac", "aé", b"ab", ""]


@pytest.mark.parametrize("takeover", [False, True])
def test_compression(connect, takeover):
    settings = Compression(server_context_takeover=takeover, client_context_takeover=takeover)
    client = connect(server={"compression": settings}, compression=settings)
    connection = client.serving.connection(client.serving.next("open"))
    for text in ("x" * 100_000, "x" * 100_000, "short"):
        client.send(text)
        assert client.recv(DEADLINE) == text
    client.send("y" * 500, compress=True)
    client.send("y" * 2000, compress=False)
    assert [len(client.recv(DEADLINE)) for _ in range(2)] == [500, 2000]
    assert connection.bytes_in < 4000


def test_errors_of_send(connect):
    client = connect()
    for message in (5, None, {"type": "hello"}):
        with pytest.raises(TypeError, match="a message is str, bytes or an iterable"):
            client.send(message)
    with pytest.raises(UnicodeEncodeError):
        client.send("\ud800")
    client.send("ok")
    assert client.recv(DEADLINE) == "ok"
    client.close()
    assert client.send("late") is False
    assert client.send(["late"]) is False
    assert client.ping() is False


def test_an_iterable_that_raises_closes_with_1011(connect):
    client = connect()

    def chunks():
        yield "a"
        raise KeyError

    with pytest.raises(KeyError):
        client.send(chunks())
    with pytest.raises(ConnectionClosed):
        client.recv(DEADLINE)
    left = client.serving.next("open"), client.serving.next("close")
    assert left[0].close_code == 1011


def test_no_message_in_time(connect):
    client = connect()
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        client.recv(timeout=0.1)
    assert 0.09 < time.monotonic() - begun < LATE
    with pytest.raises(TimeoutError):
        client.recv(timeout=0)
    client.send("later")
    assert client.recv(DEADLINE) == "later"
    client.send("at any time")
    assert client.recv(timeout=float("inf")) == "at any time"


def test_iterating_ends_with_the_connection(connect):
    client = connect()
    peer = client.serving.next("open")
    for i in range(50):
        client.serving.server.send(peer, str(i))
    client.serving.server.close(peer, 1000, "bye")
    assert list(client) == [str(i) for i in range(50)]
    assert (client.close_code, client.close_reason) == (1000, "bye")
    with pytest.raises(ConnectionClosed) as closed:
        client.recv()
    assert (closed.value.code, closed.value.reason, str(closed.value)) == (1000, "bye", "1000 bye")


def test_iterating_raises_if_it_ended_otherwise(connect):
    client = connect()
    client.serving.server.close(client.serving.next("open"), 4000)
    with pytest.raises(ConnectionClosed, match="4000"):
        list(client)


def test_close_says_code_and_reason(connect):
    client = connect()
    peer = client.serving.next("open")
    assert client.close(4001, "done") is True
    assert client.close() is False
    assert client.serving.next("close") is peer
    assert (peer.close_code, peer.close_reason) == (4001, "done")
    assert client.close_code == 4001
    assert not client.is_open
    with pytest.raises(ValueError):
        client.close(1006)
    with pytest.raises(ValueError):
        client.close(1000, "x" * 124)


def test_close_wakes_recv(connect):
    client = connect()
    errors = []

    def wait():
        try:
            client.recv()
        except ConnectionClosed as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    client.close(4002)
    thread.join(DEADLINE)
    assert [error.code for error in errors] == [4002]


def test_one_thread_receives_while_others_send(connect):
    client = connect()
    got = []

    def send(name):
        for i in range(200):
            assert client.send(f"{name} {i}")

    threads = [threading.Thread(target=send, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for _ in range(600):
        got.append(client.recv(DEADLINE))
    for thread in threads:
        thread.join(DEADLINE)
    for name in "abc":
        assert [one for one in got if one[0] == name] == [f"{name} {i}" for i in range(200)]


def test_several_threads_may_receive(connect):
    client = connect()
    got = []

    def receive():
        for _ in range(100):
            got.append(client.recv(DEADLINE))

    threads = [threading.Thread(target=receive) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(300):
        client.send(str(i))
    for thread in threads:
        thread.join(DEADLINE)
    assert sorted(map(int, got)) == list(range(300))


def test_messages_are_not_collected_without_bound(raw):
    """Those that nobody takes wait in TCP, and at last the server waits."""
    sent = []

    def script(peer):
        peer.accept()
        for i in range(2000):
            peer.send_frame(BINARY, i.to_bytes(4, "big") * 10_000)
            sent.append(i)
        peer.echo_close()

    with WSClient(raw(script), proxy=None) as client:
        eventually(lambda: len(sent) > 10)
        while True:
            count = len(sent)
            time.sleep(0.5)
            if len(sent) == count:
                break
        assert count < 2000
        for i in range(2000):
            assert client.recv(DEADLINE) == i.to_bytes(4, "big") * 10_000


def test_pings_are_answered_while_nobody_receives(connect):
    client = connect(server={"ping_interval": 1.0, "ping_timeout": 1.0})
    peer = client.serving.next("open")
    client.send("a")
    assert client.recv(DEADLINE) == "a"
    time.sleep(2.5)
    assert peer.latency is not None
    client.send("b")
    assert client.recv(DEADLINE) == "b"


def test_pings_are_answered_while_one_receives(connect):
    client = connect(server={"ping_interval": 1.0, "ping_timeout": 1.0})
    with pytest.raises(TimeoutError):
        client.recv(timeout=2.5)
    client.send("b")
    assert client.recv(DEADLINE) == "b"


def test_latency(connect):
    client = connect()
    assert client.latency is None
    assert client.ping() is True
    latency = eventually(lambda: client.latency)
    assert 0 < latency < LATE


def test_request_and_response(connect):
    client = connect(
        server={"subprotocols": ["a", "b"], "origins": ["http://x"]},
        subprotocols=["b", "a"],
        origin="http://x",
        headers={"X-Token": "t", "User-Agent": "me"},
    )
    request = client.serving.next("open").request
    assert request.headers["x-token"] == "t"
    assert request.headers["user-agent"] == "me"
    assert request.headers == client.request.headers
    assert client.response.status == 101
    assert client.response.headers["upgrade"] == "websocket"
    assert client.subprotocol == "a"


def test_credentials_in_the_url(connect):
    client = connect()
    url = client.url.replace("ws://", "ws://user:pass@")
    with WSClient(url, proxy=None) as other:
        assert other.request.headers["authorization"] == "Basic dXNlcjpwYXNz"


def test_a_password_is_not_shown():
    assert repr(WSClient("ws://me:secret@localhost:1/x")) == "<WSClient ws://localhost:1/x (new)>"


def test_refused(serve):
    serving = serve()
    serving.server.onrequest(lambda request: Response(403, "go away", {"X-Why": "because"}))
    with pytest.raises(HandshakeRefused, match="403 Forbidden") as refused:
        WSClient(serving.server.url).start()
    response = refused.value.response
    assert (response.status, response.body) == (403, b"go away")
    assert response.headers["x-why"] == "because"


def test_tls(connect, certificate):
    client = connect(server=certificate.options, ssl_context=trusting_context())
    client.send("x" * 100_000)
    assert client.recv(DEADLINE) == "x" * 100_000
    assert client.request.secure
    for i in range(200):
        client.send(str(i))
    assert [client.recv(DEADLINE) for _ in range(200)] == [str(i) for i in range(200)]
    assert client.close() is True


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_unix_socket(tmp_path):
    with WSServer(unix=str(tmp_path / "s")) as server:
        server.onmessage(server.send)
        with WSClient(server.url) as client:
            client.send("a")
            assert client.recv(DEADLINE) == "a"
        with WSClient("ws://example.org/x", unix=str(tmp_path / "s")) as client:
            assert client.request.headers["host"] == "example.org"
    with pytest.raises(OSError, match=str(tmp_path)):
        WSClient(server.url).start()


def test_a_given_socket(serve):
    serving = serve()
    sock = socket.create_connection(("127.0.0.1", serving.port))
    with WSClient("ws://anywhere/", sock=sock) as client:
        client.send("a")
        assert client.recv(DEADLINE) == "a"


def test_ipv6(serve):
    try:
        serving = serve(host="::1")
    except OSError:
        pytest.skip("no IPv6")
    with WSClient(serving.server.url) as client:
        client.send("a")
        assert client.recv(DEADLINE) == "a"


# What can't be


@pytest.mark.parametrize(
    "options, error",
    [
        ({"no_such": 1}, TypeError),
        ({"threads": 3}, TypeError),
        ({"slow_client": "skip"}, TypeError),
        ({"max_message_size": 0}, ValueError),
        ({"subprotocols": "a b"}, ValueError),
        ({"headers": {"Upgrade": "x"}}, ValueError),
        ({"origin": "a\r\nb"}, ValueError),
        ({"reconnect": True, "sock": object()}, ValueError),
    ],
)
def test_wrong_options(options, error):
    with pytest.raises(error):
        WSClient("ws://localhost/", **options)


def test_wrong_urls():
    with pytest.raises(ValueError):
        WSClient("example.org")


def test_wrong_order():
    client = WSClient("ws://localhost:1/", reconnect=True)
    with pytest.raises(RuntimeError, match="needs callbacks"):
        client.start()
    with pytest.raises(RuntimeError, match="start the client"):
        client.recv()
    assert client.send("x") is False
    assert client.close() is False
    assert "new" in repr(WSClient("ws://localhost:1/"))


def test_a_client_runs_once(connect):
    client = connect()
    with pytest.raises(RuntimeError, match="runs once"):
        client.start()
    with pytest.raises(RuntimeError, match="before"):
        client.onmessage(print)
    assert "(open)" in repr(client)
    client.close()
    assert "(ended)" in repr(client)
    with pytest.raises(RuntimeError, match="runs once"):
        client.start()

"""WSClient against servers that do it wrong, or go away: RFC 6455 §4.1 and §7, and deadlines."""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import threading
import time

import pytest

from tests.support.frames import CLOSE, PING, PONG, TEXT
from tests.support.rawserver import RawServer
from tests.support.tables import table
from tests.support.waiting import DEADLINE, LATE, eventually
from ws import ConnectionClosed, HandshakeRefused, WSClient


@pytest.fixture
def raw():
    """Start a raw server with a script."""
    servers = []

    def start(*script, **options):
        servers.append(RawServer(*script, **options))
        return servers[-1].url

    yield start
    for server in servers:
        server.close()


def connect(url, **options):
    return WSClient(url, proxy=None, **options).start()


# The opening handshake


@table(
    "changes, lines",
    ("4.1 (2) no Upgrade", {"Upgrade": None}, []),
    ("4.1 (2) another one", {"Upgrade": "h2c"}, []),
    ("4.1 (3) Connection", {"Connection": "close"}, []),
    ("4.1 (4) no Accept", {"Sec_WebSocket_Accept": None}, []),
    ("4.1 (4) a wrong one", {"Sec_WebSocket_Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, []),
    ("4.1 (5) an extension", {}, ["Sec-WebSocket-Extensions: permessage-deflate"]),
    ("4.1 (6) a subprotocol", {}, ["Sec-WebSocket-Protocol: chat"]),
)
def test_a_wrong_answer_fails_the_connection(raw, changes, lines):
    """§4.1 MUST Fail the WebSocket Connection; and nothing is sent to such a server."""
    ends = []

    def script(peer):
        peer.accept(*lines, **changes)
        ends.append(peer.sock.recv(100))

    url = raw(script)
    with pytest.raises(HandshakeRefused, match="wrong") as refused:
        connect(url)
    assert refused.value.response.status == 101
    eventually(lambda: ends == [b""])


@table(
    "answer, body",
    ("nothing", b"Content-Length: 0\r\n\r\n", b""),
    ("a page", b"Content-Length: 5\r\n\r\nhello", b"hello"),
    ("up to the end", b"\r\nhello", b"hello"),
    ("of which not all comes", b"Content-Length: 9\r\n\r\nhello", b"hello"),
    ("without end", b"\r\n" + b"x" * 200_000, b"x" * 65536),
)
def test_a_refusal_has_its_content(raw, answer, body):
    url = raw(lambda peer: (peer.read_head(), peer.send(b"HTTP/1.1 503 Busy\r\n" + answer)))
    with pytest.raises(HandshakeRefused, match="503 Busy") as refused:
        connect(url)
    assert refused.value.response.body == body


@table(
    "answer",
    ("another protocol", b"SSH-2.0-OpenSSH\r\n"),
    ("a page without a head", b"<html>"),
    ("a frame", b"\x81\x05hello"),
    ("a head without end", b"HTTP/1.1 101 x\r\nX: " + b"x" * 40_000),
    ("fields without end", b"HTTP/1.1 101 x\r\n" + b"X: y\r\n" * 9000),
    ("interim ones without end", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000),
    ("nothing", b""),
)
def test_what_is_no_answer(raw, answer):
    url = raw(lambda peer: (peer.read_head(), peer.send(answer)))
    with pytest.raises(ConnectionError, match="localhost"):
        connect(url)


def test_an_answer_in_pieces(raw):
    def script(peer):
        peer.read_head()
        for byte in peer.answer() + b"\x81\x05hello":
            peer.send(bytes([byte]))
        peer.echo_close()

    with connect(raw(script)) as client:
        assert client.recv(DEADLINE) == "hello"


def test_frames_that_come_with_the_answer(raw):
    def script(peer):
        peer.read_head()
        peer.send(peer.answer() + b"\x81\x01a\x89\x00\x82\x01b\x81\x05he")
        assert peer.recv_frame() == (PONG, b"")
        peer.send(b"llo")
        peer.echo_close()

    with connect(raw(script)) as client:
        assert [client.recv(DEADLINE) for _ in range(3)] == ["a", b"b", "hello"]


@table(
    "script",
    ("no answer", lambda peer: peer.at_eof()),
    ("an answer byte by byte", lambda peer: (peer.read_head(), drip(peer, peer.answer()))),
    ("a head without end", lambda peer: drip(peer, b"HTTP/1.1 101 OK\r\nX: " + b"x" * 10_000)),
    ("no TLS", lambda peer: peer.at_eof()),
)
def test_the_handshake_has_a_deadline(raw, script, request):
    url = raw(script)
    if "TLS" in request.node.name:
        url = url.replace("ws:", "wss:")
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match="localhost"):
        connect(url, open_timeout=0.3)
    assert 0.25 < time.monotonic() - begun < LATE


def drip(peer, data):
    for byte in data:
        peer.send(bytes([byte]))
        time.sleep(0.05)


def test_looking_up_a_name_has_a_deadline(monkeypatch, gate):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: gate.wait(DEADLINE))
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match=r"slow\.example"):
        connect("ws://slow.example/", open_timeout=0.2)
    assert time.monotonic() - begun < LATE


def test_a_name_that_does_not_exist():
    with pytest.raises(OSError, match=r"nothing\.invalid"):
        connect("ws://nothing.invalid/")


def test_nobody_listens():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with pytest.raises(ConnectionRefusedError, match=rf"localhost:{port} \(.*127\.0\.0\.1"):
        connect(f"ws://localhost:{port}/")


def test_the_second_address_is_tried_while_the_first_is_silent(raw, monkeypatch):
    """RFC 8305 §5. The first address's queue of connections is full, so it never answers."""
    url = raw(lambda peer: (peer.accept(), peer.echo_close()))
    port = int(url.rpartition(":")[2].strip("/"))
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
    kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
    addresses = [(*kind, full.getsockname()), (*kind, ("127.0.0.1", port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: addresses)
    begun = time.monotonic()
    with connect("ws://two.example/"):
        assert time.monotonic() - begun < LATE
    for sock in (full, *fillers):
        sock.close()


# Redirections


def location(target, status="302 Found"):
    def script(peer):
        peer.read_head()
        peer.send(f"HTTP/1.1 {status}\r\nLocation: {target}\r\n\r\n".encode())

    return script


@pytest.mark.parametrize("status", ["301 x", "302 x", "303 x", "307 x", "308 x"])
def test_redirected(raw, status):
    def script(peer):
        peer.accept()
        peer.send_frame(TEXT, peer.head.split(" ")[1].encode())
        peer.echo_close()

    target = raw(script)
    with connect(raw(location(target + "there?x", status))) as client:
        assert client.recv(DEADLINE) == "/there?x"


def test_redirected_for_ever(raw):
    server = []
    with pytest.raises(HandshakeRefused, match="302"):
        connect(raw(lambda peer: (server.append(peer), location("/again")(peer))))
    assert len(server) == 6


@pytest.mark.parametrize("target", ["ftp://x/", "http:///", "#", ""])
def test_redirected_nowhere(raw, target):
    with pytest.raises(HandshakeRefused):
        connect(raw(location(target)))


def test_secrets_stay_with_the_server_that_they_are_for(raw):
    heads = []

    def script(peer):
        peer.accept()
        heads.append(peer.head.lower())
        peer.echo_close()

    target = raw(script)
    url = raw(location(target)).replace("ws://", "ws://user:pass@")
    with connect(url, headers={"Cookie": "a=b", "X-Other": "c", "Host": "mine"}):
        pass
    assert "x-other: c" in heads[0]
    for secret in ("cookie", "authorization", "mine"):
        assert secret not in heads[0]


# Frames


@table(
    "data, code",
    ("5.1 a masked frame", b"\x81\x80\0\0\0\0", 1002),
    ("5.2 a reserved bit", b"\xc1\x00", 1002),
    ("5.2 a reserved opcode", b"\x83\x00", 1002),
    ("5.4 a continuation of nothing", b"\x80\x00", 1002),
    ("5.5.1 a close frame of one byte", b"\x88\x01x", 1002),
    ("8.1 no UTF-8", b"\x81\x01\xff", 1007),
    ("10.4 too much", b"\x82\x7f\0\0\0\0\0\x11\0\0", 1009),
)
@pytest.mark.parametrize("callbacks", [False, True])
def test_a_fault_of_the_server(raw, data, code, callbacks):
    """§7.1.7: a close frame with the code, and the end."""
    closed = []

    def script(peer):
        peer.accept()
        peer.send(b"\x81\x02ok", data)
        closed.append(peer.recv_frame())

    client = WSClient(raw(script), proxy=None)
    if callbacks:
        client.onopen(lambda: None)
        client.start()
        eventually(lambda: client.close_code)
    else:
        client.start()
        assert client.recv(DEADLINE) == "ok"
        with pytest.raises(ConnectionClosed) as ended:
            client.recv(DEADLINE)
        assert ended.value.code == code
    assert client.close_code == code
    eventually(lambda: closed)
    assert closed[0][0] == CLOSE
    assert struct.unpack("!H", closed[0][1][:2]) == (code,)


# Endings


def test_the_server_closes_tcp_first(raw):
    """§7.1.1: the server closes first, and the client waits for that."""
    times = []

    def script(peer):
        peer.accept()
        peer.echo_close()
        peer.sock.settimeout(0.3)
        try:
            times.append(peer.sock.recv(1))
        except socket.timeout:
            times.append("nothing")

    connect(raw(script)).close()
    eventually(lambda: times == ["nothing"])


@pytest.mark.parametrize("end", ["fin", "reset"])
@pytest.mark.parametrize("waiting", [False, True])
def test_the_connection_is_lost(raw, end, waiting, gate):
    def script(peer):
        peer.accept()
        peer.send_frame(TEXT, b"last")
        assert waiting or gate.wait(DEADLINE)
        time.sleep(0.1 * waiting)
        if end == "reset":
            peer.reset()

    client = connect(raw(script))
    assert client.recv(DEADLINE) == "last"
    gate.set()
    if not waiting:
        eventually(lambda: client.close_code)
    with pytest.raises(ConnectionClosed) as closed:
        client.recv(DEADLINE)
    assert closed.value.code == 1006
    assert client.send("x") is False


def test_messages_before_the_end_are_delivered(raw):
    def script(peer):
        peer.accept()
        for i in range(100):
            peer.send_frame(TEXT, str(i).encode())
        peer.close()

    client = connect(raw(script))
    time.sleep(0.3)
    assert list(client) == [str(i) for i in range(100)]


@pytest.mark.parametrize("callbacks", [False, True])
def test_a_close_frame_that_is_not_answered(raw, callbacks):
    url = raw(lambda peer: (peer.accept(), peer.at_eof()))
    client = WSClient(url, proxy=None, close_timeout=0.3)
    if callbacks:
        client.onmessage(print)
    client.start()
    begun = time.monotonic()
    assert client.close() is True
    assert 0.25 < time.monotonic() - begun < LATE
    assert client.close_code == 1006
    assert "not answered" in client.close_reason


def test_close_wakes_recv_even_if_it_is_not_answered(raw):
    client = connect(raw(lambda peer: (peer.accept(), peer.at_eof())), close_timeout=0.3)
    codes = []

    def wait():
        with pytest.raises(ConnectionClosed) as closed:
            client.recv()
        codes.append(closed.value.code)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    client.close()
    thread.join(DEADLINE)
    assert codes == [1006]


def test_shutdown_has_a_deadline(raw):
    client = connect(raw(lambda peer: (peer.accept(), peer.at_eof())))
    begun = time.monotonic()
    assert client.shutdown(0.3) is False
    assert time.monotonic() - begun < LATE
    assert client.close_code == 1006


@pytest.mark.parametrize("waiting", [False, True])
def test_a_frozen_server_is_noticed(raw, waiting):
    url = raw(lambda peer: (peer.accept(), peer.at_eof()))
    client = connect(url, ping_interval=0.2, ping_timeout=0.2)
    if not waiting:
        eventually(lambda: client.close_code)
    with pytest.raises(ConnectionClosed, match="1006 keepalive"):
        client.recv()


def test_a_server_that_answers_pings_is_kept(raw):
    def script(peer):
        peer.accept()
        for _ in range(2):
            opcode, payload = peer.recv_frame()
            assert opcode == PING
            peer.send_frame(PONG, payload)
        peer.send_frame(TEXT, b"done")
        peer.echo_close()

    with connect(raw(script), ping_interval=1.0, ping_timeout=1.0) as client:
        assert client.recv(DEADLINE) == "done"


def test_a_server_that_never_reads(raw, gate):
    url = raw(lambda peer: (peer.accept(), gate.wait(DEADLINE)))
    client = connect(url, max_queue_size=100_000, send_timeout=0.3)
    begun = time.monotonic()
    while client.send(b"x" * 50_000):
        assert time.monotonic() - begun < DEADLINE
    eventually(lambda: client.close_code == 1006)
    assert "took too long to read" in client.close_reason
    assert client.unsent > 0


# Reconnecting


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


def test_reconnecting_to_nobody(monkeypatch):
    monkeypatch.setattr("ws.session.FIRST_RETRY_SECONDS", 0.02)
    client, events = reconnecting("ws://127.0.0.1:1/")
    client.start()
    eventually(lambda: len(events) >= 3)
    assert all(isinstance(error, ConnectionRefusedError) for error in events)
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


# Proxies


def relay(peer, port):
    """Relay between the client and a port of this machine."""
    server = socket.create_connection(("127.0.0.1", port))

    def back():
        try:
            while True:
                data = server.recv(1 << 16)
                if not data:
                    break
                peer.sock.sendall(data)
        except OSError:
            pass

    thread = threading.Thread(target=back, daemon=True)
    thread.start()
    try:
        while True:
            server.sendall(peer.sock.recv(1 << 16) or b"" * 1)
            if peer.sock.fileno() < 0:
                break
    finally:
        server.close()


def http_proxy(port, heads):
    def script(peer):
        heads.append(peer.read_head())
        peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        relay(peer, port)

    return script


def test_http_proxy(raw, serve):
    serving, heads = serve(), []
    proxy = raw(http_proxy(serving.port, heads)).replace("ws://", "http://me:s%20t@")
    with WSClient(f"ws://far.example:{serving.port}/x", proxy=proxy) as client:
        client.send("a")
        assert client.recv(DEADLINE) == "a"
    lines = heads[0].split("\r\n")
    assert lines[0] == f"CONNECT far.example:{serving.port} HTTP/1.1"
    assert "Proxy-Authorization: Basic bWU6cyB0" in lines


def test_the_environment_names_a_proxy(raw, serve, monkeypatch):
    serving, heads = serve(), []
    proxy = raw(http_proxy(serving.port, heads)).replace("ws://", "http://")
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with WSClient(f"ws://far.example:{serving.port}/"):
        pass
    assert len(heads) == 1
    with WSClient(serving.server.url):
        pass
    assert len(heads) == 1


def test_a_proxy_that_refuses(raw):
    answer = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"
    proxy = raw(lambda peer: (peer.read_head(), peer.send(answer))).replace("ws://", "http://")
    with pytest.raises(ConnectionError, match="proxy localhost: it answered 407 Proxy Auth"):
        WSClient("ws://far.example/", proxy=proxy).start()


def socks(port, asked, user=b"", status=0, method=0):
    def script(peer):
        assert peer.read(1) == b"\5"
        methods = peer.read(peer.read(1)[0])
        assert (2 in methods) == bool(user)
        peer.send(bytes((5, method)))
        if method == 2:
            assert peer.read(1) == b"\1"
            asked.append(peer.read(peer.read(1)[0]) + b":" + peer.read(peer.read(1)[0]))
            peer.send(bytes((1, asked[0] != user)))
        assert peer.read(3) == b"\5\1\0"
        kind = peer.read(1)[0]
        asked.append(peer.read({1: 4, 3: 1, 4: 16}[kind]))
        if kind == 3:
            asked[-1] = peer.read(asked[-1][0])
        asked.append(struct.unpack("!H", peer.read(2))[0])
        peer.send(bytes((5, status, 0, 3, 2)) + b"xx\0\1" if port else bytes((5, status, 0, 1)))
        relay(peer, port)

    return script


@table(
    "user, host, address",
    ("a name, which the proxy looks up", b"", "far.example", b"far.example"),
    ("an address", b"", "192.0.2.1", bytes((192, 0, 2, 1))),
    ("of IPv6", b"", "[2001:db8::1]", bytes.fromhex("20010db8000000000000000000000001")),
    ("with a password", b"me:secret", "far.example", b"far.example"),
)
def test_socks_proxy(raw, serve, user, host, address):
    serving, asked = serve(), []
    proxy = raw(socks(serving.port, asked, user, method=2 if user else 0))
    proxy = proxy.replace("ws://", f"socks5://{user.decode()}@" if user else "socks5://")
    with WSClient(f"ws://{host}:{serving.port}/", proxy=proxy) as client:
        client.send("a")
        assert client.recv(DEADLINE) == "a"
    assert asked == [user, address, serving.port][not user :]


@table(
    "user, method, status, why",
    ("refused", "", 0, 5, "connection refused"),
    ("unknown", "", 0, 99, "error 99"),
    ("wants a password", "", 2, 0, "another authentication"),
    ("wants something else", "me:x@", 255, 0, "another authentication"),
    ("a wrong password", "me:x@", 2, 0, "refuses this user"),
)
def test_a_socks_proxy_that_refuses(raw, user, method, status, why):
    proxy = raw(socks(0, [], user[:-1].encode() and b"other:y", status, method))
    with pytest.raises(ConnectionError, match=f"proxy localhost: .*{why}"):
        WSClient("ws://far.example/", proxy=proxy.replace("ws://", f"socks5://{user}")).start()


def test_proxies_of_other_kinds():
    with pytest.raises(ValueError, match="socks5://"):
        WSClient("ws://far.example/", proxy="ftp://x").start()


# Processes


OPEN_CLIENTS = """
import sys
from ws import WSClient
blocking = WSClient(sys.argv[1], proxy=None).start()
calling = WSClient(sys.argv[1], proxy=None)
calling.onmessage(print)
calling.start()
retrying = WSClient("ws://127.0.0.1:1/", proxy=None, reconnect=True)
retrying.onopen(print)
retrying.start()
blocking.send("ready")
calling.send("ready")
"""


def test_the_interpreter_exits_with_clients_open(serve, program):
    serving = serve()
    process = program(OPEN_CLIENTS, serving.server.url)
    peers = [serving.next("open") for _ in range(2)]
    out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    assert err == b""
    eventually(lambda: [peer.close_code for peer in peers] == [1001, 1001])


def test_the_interpreter_exits_although_the_server_is_frozen(raw, program):
    url = raw(lambda peer: (peer.accept(), peer.at_eof()))
    process = program(OPEN_CLIENTS, url)
    out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, err) == (0, b"")


FORK = """
import os, sys, warnings
from ws import ConnectionClosed, WSClient
warnings.simplefilter("ignore")  # of forking with threads
client = WSClient(sys.argv[1], proxy=None).start()
calling = WSClient(sys.argv[1], proxy=None)
calling.onmessage(lambda message: None)
calling.start()
client.send("1")
assert client.recv(10) == "1"
pid = os.fork()
if not pid:
    assert client.send("x") is False
    assert calling.send("x") is False
    try:
        client.recv(10)
        os._exit(1)
    except ConnectionClosed as closed:
        assert closed.code == 1006
    client.close()
    calling.close()
    with WSClient(sys.argv[1], proxy=None) as own:
        own.send("child")
        assert own.recv(10) == "child"
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
for i in range(100):
    client.send(str(i))
    assert client.recv(10) == str(i)
assert calling.send("x") is True
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_no_clients_of_its_parent(serve, program):
    serving = serve()
    process = program(FORK, serving.server.url)
    out, err = process.communicate(timeout=3 * DEADLINE)
    assert (process.returncode, err) == (0, b""), err.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_run(serve, program, number):
    source = """
import sys
from ws import WSClient
client = WSClient(sys.argv[1], proxy=None)
client.onopen(lambda: client.send("ready"))
client.run()
print("ended", client.close_code)
"""
    serving = serve()
    process = program(source, serving.server.url)
    peer = serving.next("open")
    eventually(lambda: serving.connection(peer).messages_in)
    process.send_signal(number)
    out, err = process.communicate(timeout=DEADLINE)
    assert (out, err) == (b"ended 1001\n", b"")
    assert peer.close_code == 1001

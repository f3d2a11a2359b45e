"""WSClient against servers that do it wrong, freeze or vanish; processes that exit or fork.

Over 400 lines, because all of it needs the same raw server.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import sys
import threading
import time

import pytest

from tests.support.frames import CLOSE, PING, PONG, TEXT
from tests.support.processes import Program
from tests.support.rawserver import RawServer
from tests.support.tables import table
from tests.support.waiting import DEADLINE, LATE, eventually
from ws import ConnectionClosed, WSClient
from ws.wire.frames import frame


def connect(url, **options):
    return WSClient(url, proxy=None, **options).start()


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


@pytest.mark.parametrize("end", [b"\x83\x00", b"\x88\x02\x03\xe8"], ids=["fault", "close"])
def test_a_message_is_replied_to_before_the_end_that_came_with_it(raw, end):
    """The leader may have read both before the program asks for the message."""
    got = []

    def script(peer):
        peer.accept()
        peer.send(b"\x81\x05hello", end)
        got.append(peer.recv_frame())
        got.append(peer.recv_frame()[0])

    client = connect(raw(script))
    time.sleep(0.4)
    assert client.recv(DEADLINE) == "hello"
    assert client.send("reply") is True
    with pytest.raises(ConnectionClosed):
        client.recv(DEADLINE)
    eventually(lambda: got == [(TEXT, b"reply"), CLOSE])


def test_the_end_does_not_wait_for_recv_for_ever(raw):
    client = connect(raw(lambda peer: (peer.accept(), peer.close(1001))))
    eventually(lambda: client.close_code == 1001)
    assert client.send("late") is False


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


def test_a_close_frame_that_is_lost_is_no_message(raw, caplog):
    """The server doesn't wait for the answer to its own."""

    def script(peer):
        peer.accept()
        peer.send_frame(CLOSE, struct.pack("!H", 1001))
        time.sleep(0.3)
        peer.reset()

    with WSClient(raw(script), proxy=None) as client:
        eventually(lambda: client.close_code == 1001)
        assert client.unsent == 0
    assert "unsent" not in caplog.text


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


def endless(data):
    def script(peer):
        peer.accept()
        with contextlib.suppress(OSError):
            while True:
                peer.send(data)

    return script


def test_recv_has_a_deadline_while_pings_come(raw):
    client = connect(raw(endless(frame(PING, b"") * 100)))
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        client.recv(timeout=0.3)
    assert time.monotonic() - begun < LATE


def test_shutdown_has_a_deadline_while_messages_come(raw):
    client = connect(raw(endless(b"\x81\x05hello" * 1000)), close_timeout=2 * DEADLINE)
    begun = time.monotonic()
    assert not client.shutdown(0.5)
    assert time.monotonic() - begun < LATE


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


# Floods


FLOODED = """
import sys, time
from ws import WSClient
victims = [WSClient(url, proxy=None).start() for url in sys.argv[2:]]
honest = WSClient(sys.argv[1], proxy=None)
waits = []
@honest.onmessage
def measure(message):
    waits.append(time.monotonic() - float(message))
honest.start()
print("open", flush=True)
for line in sys.stdin:
    for _ in range(100):
        honest.send(str(time.monotonic()))
        time.sleep(0.02)
    deadline = time.monotonic() + 10
    while len(waits) < 100 and time.monotonic() < deadline:
        time.sleep(0.02)
    print(len(waits), max(waits), flush=True)
"""
"""Some clients of one server, and one of another that measures how long its messages take."""


def test_a_flood_of_pings():
    """Their clients take turns with the others of the process."""

    def read(peer):
        with contextlib.suppress(OSError):  # the end of the test
            peer.at_eof()

    def flood(peer):
        peer.accept()
        peer.sock.settimeout(DEADLINE)
        threading.Thread(target=read, args=(peer,), daemon=True).start()
        while True:
            peer.send(frame(PING, b"") * 5000)

    def echo(peer):
        peer.accept()
        while True:
            opcode, payload = peer.recv_frame()
            peer.send_frame(opcode, payload)

    with RawServer(echo) as honest, RawServer(flood) as server:
        command = [sys.executable, "-c", FLOODED, honest.url, *[server.url] * 3]
        with Program(command, talks=True) as program:
            assert program.read_line() == "open\n"
            count, longest = program.ask("measure").split()
            assert int(count) == 100
            assert float(longest) < LATE
            memory, threads, _ = program.usage()
            assert memory < 64
            assert threads < 10

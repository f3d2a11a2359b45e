"""Processes with WSClients: they exit, fork, get signals, and share a few threads."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading

import pytest

from tests.support.frames import PING
from tests.support.processes import Program
from tests.support.rawserver import RawServer
from tests.support.waiting import DEADLINE, LATE, eventually
from ws.wire.frames import frame

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

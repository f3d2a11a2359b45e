"""Faults: peers that die at any point, calls that fail, children, the end of the interpreter."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

from tests.attacks.victim import Victim
from tests.support import ROOT
from tests.support.certificates import client_hello, unverified_context
from tests.support.frames import BINARY, PING, TEXT, close_frame, frame
from tests.support.heads import request
from tests.support.rawclient import RawClient, connect
from tests.support.waiting import LATE, eventually

RESET = struct.pack("ii", 1, 0)
BIG = 8 << 20  # more than the system buffers for a peer


def opened(peer):
    peer.handshake(request())
    assert peer.status == 101


def after(*frames):
    """Return a function that opens a peer, and sends these frames."""

    def act(peer):
        opened(peer)
        peer.send_frames(*frames)

    return act


def refused(peer):
    peer.sock.sendall(request("/", "Origin: https://evil.example"))


def lingers(peer):
    """Both close frames have been sent, and the server waits for the end of TCP."""
    opened(peer)
    peer.send_frames(close_frame())
    assert peer.recv() == (1000, "")


def awaited(peer):
    """The server has sent its close frame, and waits for the peer's."""
    opened(peer)
    peer.send("close:")
    assert peer.recv() == (1000, "")


POINTS = {
    "connected": lambda peer: None,
    "in the request line": lambda peer: peer.sock.sendall(b"GET /"),
    "before the last line end": lambda peer: peer.sock.sendall(request()[:-1]),
    "while onrequest blocks": lambda peer: peer.sock.sendall(request("/slow")),
    "refused": refused,
    "while a page is sent": lambda peer: peer.sock.sendall(
        b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n"
    ),
    "open": opened,
    "in a frame's header": after(b"\x82\xfe\0"),
    "in a payload": after(frame(BINARY, bytes(9000))[:-1]),
    "between fragments": after(frame(TEXT, b"x", fin=False)),
    "with a ping unanswered": after(frame(PING)),
    "while its callback blocks": after(frame(TEXT, b"sleep:0.2")),
    "with messages waiting": after(*[frame(TEXT, b"sleep:0.05")] * 30),
    "while much is sent to it": after(frame(TEXT, b"big:%d" % BIG)),
    "while a send to it waits": after(*[frame(TEXT, b"big:%d" % BIG)] * 3),
    "while its callback raises": after(frame(TEXT, b"raise:a bug")),
    "after a fault": after(b"\xff\xff"),
    "after its close frame": after(close_frame()),
    "after the server's close frame": after(frame(TEXT, b"close:")),
    "after both": lingers,
}
"""How to get a peer to each point of a connection's life."""


def killed(peer):
    """Close the socket, as the system does for a killed process."""
    with subprocess.Popen(["sleep", "60"], pass_fds=[peer.sock.fileno()]) as holder:
        peer.close()
        holder.kill()


def reset(peer):
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    peer.close()


def half_closed(peer):
    """End TCP one way only, and read on for a while."""
    socket.socket.shutdown(peer.sock, socket.SHUT_WR)
    try:
        while peer.sock.recv(1 << 16):
            pass
    except OSError:
        pass
    peer.close()


ENDS = {"killed": killed, "reset": reset, "closed": RawClient.close, "half-closed": half_closed}


@pytest.fixture(scope="module", params=["plain", "TLS"])
def mortal(request, certificate):
    """A server for all rows of the table; `before` is what it uses without a client."""
    if not sys.platform.startswith("linux"):
        pytest.skip("descriptors and threads are counted in /proc")
    short = {"close_timeout": 0.5, "open_timeout": 1.0, "send_timeout": 0.5}
    tls = request.param == "TLS"
    server = Victim(**(certificate.options if tls else {}), **short)
    server.context = unverified_context() if tls else None
    connect(server.port, context=server.context).close()
    eventually(lambda: not server.report()["connections"])
    server.before = server.usage()
    yield server
    assert server.end() == 0


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("point", POINTS)
def test_peer_that_dies(mortal, point, end):
    peer = RawClient(mortal.port, context=mortal.context)
    POINTS[point](peer)
    ENDS[end](peer)
    eventually(lambda: not mortal.report()["connections"], 1 + LATE)
    report = mortal.report()
    assert report["opened"] == report["closed"]
    assert report["closed_again"] == 0
    eventually(lambda: mortal.usage()[1:] <= mortal.before[1:], 1 + LATE)


@pytest.mark.parametrize("sent", [0, 1, 100, -1])
@pytest.mark.parametrize("end", ["killed", "reset", "closed"])
def test_peer_that_dies_in_its_tls_handshake(victim, certificate, sent, end):
    server = victim(open_timeout=1.0, **certificate.options)
    peer = RawClient(server.port)
    peer.sock.sendall(client_hello()[:sent])
    ENDS[end](peer)
    eventually(lambda: not server.report()["connections"], 1 + LATE)


FAILING = """
import errno, random, socket, threading
import ws.engine.poll, ws.engine.sockets, ws.wire.protocol

failing, chance = True, random.Random(1)

def sometimes(function, error):
    def fails(*arguments, **options):
        if failing and chance.random() < 0.05:
            raise error()
        return function(*arguments, **options)
    return fails

def unless_removing(error):  # removing takes no memory, and can't fail
    change = ws.engine.poll.EpollPoller.change
    add = sometimes(change, error)
    return lambda *arguments: (add if arguments[-1] else change)(*arguments)

"""
CALLS = {
    "recv": "ws.engine.sockets.PlainClient.recv = sometimes(socket.socket.recv, {})",
    "send": "ws.engine.sockets.PlainClient.send = sometimes(socket.socket.send, {})",
    "set an option": "socket.socket.setsockopt = sometimes(socket.socket.setsockopt, {})",
    "change a poll": "ws.engine.poll.EpollPoller.change = unless_removing({})",
    "poll": "ws.engine.poll.EpollPoller.wait = sometimes(ws.engine.poll.EpollPoller.wait, {})",
    "start a thread": "threading.Thread.start = sometimes(threading.Thread.start, {})",
    "parse": "ws.wire.protocol.Protocol.feed = sometimes(ws.wire.protocol.Protocol.feed, {})",
    "a callback": "server.onmessage(sometimes(onmessage, {}))",
}
ERRORS = {
    "ENOBUFS": (
        "lambda: OSError(errno.ENOBUFS, 'no buffers')",
        ["recv", "send", "set an option", "change a poll"],
    ),
    "no thread": ("lambda: RuntimeError('no new thread')", ["start a thread"]),
    "no memory": ("MemoryError", [call for call in CALLS if call != "start a thread"]),
}


@pytest.mark.parametrize(
    "call, error",
    [
        pytest.param(call, error, id=f"{call}-{name}")
        for name, (error, calls) in ERRORS.items()
        for call in calls
    ],
)
def test_call_that_fails(victim, call, error):
    """One in twenty calls fails: the server goes on, and afterwards uses what it did before."""
    server = victim(open_timeout=1.0, close_timeout=0.5, send_timeout=0.5)
    connect(server.port).close()
    eventually(lambda: not server.report()["connections"])
    before = server.usage()
    server.report(f"{FAILING}\n{CALLS[call].format(error)}")
    end = time.monotonic() + 1

    def work():
        while time.monotonic() < end:
            try:
                with connect(server.port) as peer:
                    for number in range(20):
                        peer.send(f"sleep:{number % 5 / 1000}")
                        peer.recv()
            except (OSError, EOFError, AssertionError):
                pass  # as calls fail in the server

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    server.report("failing = False")
    eventually(lambda: not server.report()["connections"])
    report = server.report()
    assert report["opened"] == report["closed"] > 0
    assert report["closed_again"] == 0
    eventually(lambda: server.usage()[1:] <= before[1:])
    with connect(server.port) as peer:
        peer.send("all is well")
        assert peer.recv() == "all is well"


JUMPS = """
import time
wall, monotonic = time.time, time.monotonic
time.time = lambda: wall() + {wall}
time.monotonic = lambda: monotonic() + {monotonic}
"""


@pytest.mark.parametrize("wall, monotonic", [(-1e6, 0), (1e6, 0), (0, 60), (0, 1e6)])
def test_clock_that_jumps(victim, wall, monotonic):
    """A clock set by hand, or that went on while the machine slept, costs nobody the connection."""
    server = victim()
    peers = [server.connect() for _ in range(5)]
    server.report(JUMPS.format(wall=wall, monotonic=monotonic))
    for peer in peers:
        peer.send("x")
        assert peer.recv() == "x"
    assert server.connect()
    assert server.report()["clients"] == 6


FORKS = {
    "and ends at once": "os._exit(0)",
    "and ends as usual": "sys.exit()",
    "and holds everything": "time.sleep(30)",
}


@pytest.mark.parametrize("child", FORKS)
def test_forked_child(victim, child):
    """A child shares the server's descriptors; neither its end nor its life disturbs the server."""
    server = victim(open_timeout=0.5)
    peer, mute = server.connect(), server.dial()
    eventually(lambda: server.report()["connections"] == 2)
    pid_file = f"import os, sys, time\npid = os.fork()\nif not pid: {FORKS[child]}"
    server.report(pid_file)
    for number in range(20):
        peer.send(str(number))
        assert peer.recv() == str(number)
    assert server.connect().send("new") is None
    assert mute.at_eof(), "open_timeout"
    peer.send("close:")
    assert peer.recv()
    peer.send_frames(close_frame())
    assert peer.at_eof()
    started = time.monotonic()
    server.report("os.kill(pid, 9)" if "holds" in child else "os.waitpid(pid, 0)")
    assert time.monotonic() - started < LATE, "seconds until the child ended"


ENDINGS = """
import sys, threading, time
from ws import WSServer

server = WSServer("127.0.0.1", 0)
server.onmessage(lambda client, message: (server.send(client, message), {busy}))
server.start()
print(server.port, flush=True)
sys.stdin.readline()
{end}
"""


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "1 / 0", "import os; os._exit(4)"])
@pytest.mark.parametrize("busy", ["None", "time.sleep(60)", "server.send(client, 'x' * (1 << 25))"])
def test_interpreter_that_ends(end, busy):
    """The process ends soon, though clients are connected, and some callbacks run."""
    source = ENDINGS.format(end=end, busy=busy)
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", source], cwd=str(ROOT), **pipes) as program:
        try:
            port = int(program.stdout.readline())
            peers = [connect(port) for _ in range(5)]
            for peer in peers[:2]:
                peer.send("x")
                assert peer.recv() == "x"
            started = time.monotonic()
            _, errors = program.communicate(b"\n", timeout=20)
            assert time.monotonic() - started < 8, "seconds until it ended"
        finally:
            program.kill()
        assert program.returncode == {"": 0, "sys.exit(3)": 3, "1 / 0": 1}.get(end, 4)
        assert (b"Fatal" not in errors) and errors.count(b"Traceback") == (end == "1 / 0")
        if end != "import os; os._exit(4)":
            assert peers[-1].recv() == (1001, "server is shutting down")
        for peer in peers:
            peer.close()

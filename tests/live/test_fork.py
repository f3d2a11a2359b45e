"""Processes that fork while a server runs: the child's is dead, and the parent's lives on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.support.processes import listens
from tests.support.rawclient import connect
from tests.support.waiting import DEADLINE, eventually

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="what a child holds is in /proc"
)

PARENT = """
import json, multiprocessing, os, threading, time, warnings
from ws import WSServer

warnings.simplefilter("ignore")  # of forking with threads
server = WSServer("127.0.0.1", 0)
parent = os.getpid()

def told(call):
    try:
        return call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def look(client=None):
    descriptors = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if
                   os.path.lexists(f"/proc/self/fd/{fd}")]
    return {
        "pid": os.getpid(),
        "shared": [name for name in descriptors if "socket" in name or "eventpoll" in name],
        "send": told(lambda: server.send(client, "from the child")),
        "close": told(lambda: server.close(client)),
        "ping": told(lambda: server.ping(client)),
        "join": told(lambda: server.join(client, "room")),
        "sendall": told(lambda: server.sendall("from the child")),
        "presence": told(server.presence),
        "stats": told(server.stats),
        "start": told(server.start),
        "run": told(server.run),
        "upgrade": told(lambda: server.upgrade({})),
        "clients": server.clients,
        "rooms": server.rooms,
        "shutdown": server.shutdown(),
    }

def tell(client=None):
    os.write(1, json.dumps(look(client)).encode() + b"\\n")

def stay():
    time.sleep(60)

def fork(client, then):
    if not os.fork():
        tell(client)
        {"stays": stay, "returns": lambda: None, "exits": lambda: os._exit(0)}[then]()

def from_multiprocessing():
    tell()
    stay()

@server.onmessage
def onmessage(client, message):
    if message.startswith("fork"):
        _, how, then = message.split()
        if how == "worker":
            time.sleep(0.2)
        if how == "main":
            forks.release()
        elif how == "multiprocessing":
            multiprocessing.get_context("fork").Process(target=from_multiprocessing).start()
        else:
            fork(client, then)
    if message == "shut down":
        threading.Thread(target=lambda: print(server.shutdown(), flush=True)).start()
        return
    server.send(client, f"{message} by {os.getpid() - parent}")

forks = threading.Semaphore(0)
server.start()
print(server.port, flush=True)

while True:
    if forks.acquire(timeout=0.1):
        fork(server.clients[0], "stays")
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        pass
"""
UNUSABLE = "send close ping join sendall presence stats start run".split()


@pytest.mark.parametrize(
    "how", ["inline stays", "inline returns", "inline exits", "worker stays", "worker returns",
            "main stays", "multiprocessing stays"],
)  # fmt: skip
def test_a_forked_child_serves_nobody_and_says_so(program, how):
    process = program(PARENT)
    port = int(process.stdout.readline())
    one, other = connect(port), connect(port)
    one.send("x")
    assert one.recv() == "x by 0"
    one.send(f"fork {how}")
    child = json.loads(process.stdout.readline())
    try:
        assert one.recv() == f"fork {how} by 0", "the parent goes on with the callback"
        assert child["shared"] == [], "descriptors"
        for method in UNUSABLE:
            if how.startswith("multiprocessing") and method in ("send", "close", "ping"):
                continue  # it has no client to pass
            assert "RuntimeError: this process was forked" in child[method]
        assert (child["clients"], child["rooms"], child["shutdown"]) == ([], {}, True)
        for number in range(30):
            for peer in (one, other, connect(port)):
                peer.send(str(number))
                assert peer.recv() == f"{number} by 0"
        if "stays" not in how:
            eventually(lambda: not os.path.exists(f"/proc/{child['pid']}"))
        one.send("shut down")
        for peer in (one, other):
            assert peer.recv()[0] == 1001
            peer.close()
        assert process.stdout.readline() == b"True\n"
        assert not listens(port)
    finally:
        with suppress(ProcessLookupError):
            os.kill(child["pid"], signal.SIGKILL)


BUSY = """
import os, sys, threading, time, warnings
from ws import WSServer
from tests.support.rawclient import connect

warnings.simplefilter("ignore")
sys.setswitchinterval(1e-5)
server = WSServer("127.0.0.1", 0, compression=True)
server.onmessage(lambda client, message: server.sendall(message))
server.start()
peers = [connect(server.port) for _ in range(4)]
end = threading.Event()

def talk(peer):
    while not end.is_set():
        message = str(id(peer)) * 100
        peer.send(message)
        while peer.recv() != message:
            pass

def call():
    while not end.is_set():
        for client in server.clients:
            server.join(client, "room")
            server.send(client, "y")
            server.leave(client, "room")
            time.sleep(0.0001)
        server.stats()

threads = [threading.Thread(target=talk, args=(peer,)) for peer in peers]
threads += [threading.Thread(target=call) for _ in range(2)]
for thread in threads:
    thread.daemon = True
    thread.start()

def child():
    for client in clients:
        for method in (server.send, server.join):
            try:
                method(client, "z")
            except RuntimeError:
                pass
            else:
                os._exit(1)
    if server.clients or server.rooms or not server.shutdown():
        os._exit(2)
    other = WSServer("127.0.0.1", 0)
    other.onmessage(other.send)
    with other, connect(other.port) as peer:
        peer.send("a server of its own")
        os._exit(0 if peer.recv() == "a server of its own" else 3)

for number in range(40):
    clients = server.clients
    pid = os.fork()
    if not pid:
        try:
            child()
        finally:
            os._exit(4)
    deadline = time.monotonic() + 20
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(pid, 9)
            sys.exit(f"child {number} hangs")
        time.sleep(0.005)
    if status:
        sys.exit(f"child {number} ended with {status}")
end.set()
print("fine", flush=True)
os._exit(0)
"""


def test_locks_that_are_held_at_the_fork_do_not_stop_the_child(program):
    process = program(BUSY)
    output, errors = process.communicate(timeout=6 * DEADLINE)
    assert output == b"fine\n", errors.decode()


def test_other_programs_start_as_ever(serve):
    serving = serve()

    @serving.server.onmessage
    def run(client, message):
        done = subprocess.run(
            [sys.executable, "-c", f"print({message!r})"], stdout=subprocess.PIPE, check=True
        )
        serving.server.send(client, done.stdout.decode())

    peer, _ = serving.connect()
    for number in range(3):
        peer.send(str(number))
        assert peer.recv() == f"{number}\n"

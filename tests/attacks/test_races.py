"""Races: every method from many threads and from callbacks at once, switching all the time.

Under an interpreter without the GIL, too, where there is one: python3.14t or python3.13t on PATH,
or what FREE_THREADED_PYTHON names. `python -m tests.attacks.test_races SECONDS SEED` is the stress
itself.
"""

from __future__ import annotations

import collections
import os
import random
import shutil
import subprocess
import sys
import threading
import time

from tests.support import ROOT
from tests.support.frames import TEXT, close_frame, frame
from tests.support.rawclient import connect
from tests.support.waiting import LATE, eventually
from ws import WSServer

SECONDS = 4
PEERS, CALLERS = 8, 4
ROOMS = ["a", "b", "c"]


class Stress:
    """A server, threads that call it, peers that talk to it, and a count of what went wrong."""

    def __init__(self, seconds, seed):
        self.end = time.monotonic() + seconds
        self.random = random.Random(seed)
        self.faults = collections.Counter()
        self.opened, self.closed = collections.Counter(), collections.Counter()
        self.inside = set()
        self.lock = threading.Lock()
        self.done = collections.Counter()  # how often each kind of call was made
        self.server = WSServer(
            "127.0.0.1", 0, threads=8, max_queue_size=100_000, send_timeout=0.2, close_timeout=0.5,
            open_timeout=1, ping_interval=0.2, ping_timeout=1, compression=True,
        )  # fmt: skip
        self.server.onopen(self.onopen)
        self.server.onmessage(self.onmessage)
        self.server.onclose(self.onclose)
        self.server.onerror(lambda client, error: self.fault(f"a callback raised {error!r}"))

    def fault(self, what):
        with self.lock:
            self.faults[what] += 1

    # Callbacks

    def enter(self, client):
        with self.lock:
            if client in self.inside:
                self.faults["two callbacks of a client at once"] += 1
            self.inside.add(client)

    def leave(self, client):
        with self.lock:
            self.inside.discard(client)

    def onopen(self, client):
        self.enter(client)
        with self.lock:
            self.opened[client] += 1
        self.server.join(client, self.random.choice(ROOMS))
        self.leave(client)

    def onmessage(self, client, message):
        self.enter(client)
        if not self.opened[client] or self.closed[client]:
            self.fault("a message before onopen or after onclose")
        if int(message) != client.data.setdefault("next", 0):
            self.fault("a message lost, doubled or out of order")
        client.data["next"] = int(message) + 1
        self.server.send(client, f"echo {message}")
        self.call(client)
        self.leave(client)

    def onclose(self, client):
        self.enter(client)
        with self.lock:
            self.closed[client] += 1
        if client in self.server.clients or client.close_code is None:
            self.fault("onclose, and still a client")
        self.call(client)
        self.leave(client)

    # What threads and callbacks do

    def call(self, client=None):
        """Call one of the methods, on *client* or another one."""
        clients = self.server.clients
        if self.random.random() < 0.5 and clients:
            client = self.random.choice(clients)
        if client is None:
            return
        server, kind, room = self.server, self.random.randrange(40), self.random.choice(ROOMS)
        if kind < 8:
            size = self.random.choice([1, 10, 5000, 70_000])
            server.send(client, "s" * size)
        elif kind < 12:
            server.sendall("a" * self.random.choice([1, 3000]), to=room, exclude=client)
        elif kind < 14:
            server.send(client, iter(["f" * 10] * 4))
        elif kind < 18:
            server.join(client, room)
        elif kind < 22:
            server.leave(client, room)
        elif kind < 24:
            server.ping(client)
        elif kind < 26:
            server.stats()
            if not all(server.rooms.values()):
                self.fault("an empty room")
        elif kind == 26:
            server.close(client, 4000, "enough")
        elif kind == 27:
            client.close()
        elif kind == 28:
            time.sleep(0.01)
        self.done[kind] += 1

    def caller(self):
        try:
            while time.monotonic() < self.end:
                self.call()
        except BaseException as error:
            self.fault(f"a method raised {error!r}")

    def peer(self):
        """Live one connection after another, and check what comes."""
        while time.monotonic() < self.end:
            try:
                with connect(self.server.port) as peer:
                    self.talk(peer)
            except (OSError, EOFError, AssertionError):
                pass  # closed or cut by one of the others

    def talk(self, peer):
        sent = echoed = 0
        while time.monotonic() < self.end and sent < 300:
            count = self.random.choice([1, 1, 20])
            texts = [f"{number}".encode() for number in range(sent, sent + count)]
            peer.send_frames(*[frame(TEXT, text) for text in texts])
            sent += count
            while echoed < sent:
                message = peer.recv()
                if isinstance(message, tuple):
                    peer.send_frames(close_frame())
                    return
                if message.startswith("echo "):
                    if message != f"echo {echoed}":
                        self.fault("an echo lost, doubled or out of order")
                    echoed += 1
                elif len(set(message)) != 1:
                    self.fault("messages interleaved")

    def run(self):
        """Return what went wrong, counted."""
        self.server.start()
        threads = [threading.Thread(target=self.caller, daemon=True) for _ in range(CALLERS)]
        threads += [threading.Thread(target=self.peer, daemon=True) for _ in range(PEERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30 + max(0, self.end - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            self.fault("a thread hangs")
        stoppers = [threading.Thread(target=self.server.shutdown, args=(5,)) for _ in range(4)]
        started = time.monotonic()
        for stopper in stoppers:
            stopper.start()
        for stopper in stoppers:
            stopper.join(20)
        if time.monotonic() - started > 5 + LATE:
            self.fault("shutdown took too long")
        try:
            eventually(lambda: self.closed == self.opened)
        except AssertionError:
            missing = sum((self.opened - self.closed).values())
            self.fault(f"onclose missing {missing} times, or called twice")
        if set(self.opened.values()) != {1} or set(self.closed.values()) != {1}:
            self.fault("onopen or onclose not exactly once")
        server = self.server
        left = [server.stats()["active_connections"], server.clients, server.rooms]
        # Wrong records of a client's rooms show nowhere else.
        left.append(not server._service.rooms.is_empty())
        if any(left):
            self.fault(f"left behind: {left}")
        return self.faults


def stress(python, seconds=SECONDS):
    """Run the stress in a process of its own; return what it printed."""
    command = [python, "-m", "tests.attacks.test_races", str(seconds), "1"]
    done = subprocess.run(
        command,
        cwd=str(ROOT),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds + 50,
        check=False,
    )
    return done.returncode, done.stdout.decode()


def test_races():
    code, output = stress(sys.executable)
    assert code == 0, output


def test_races_without_the_gil():
    names = ("python3.15t", "python3.14t", "python3.13t")
    found = os.environ.get("FREE_THREADED_PYTHON") or next(
        filter(None, map(shutil.which, names)), ""
    )
    if not found:
        pytest.skip("no interpreter without the GIL here")
    code, output = stress(found)
    assert code == 0, output


if __name__ == "__main__":
    sys.setswitchinterval(1e-6)
    run = Stress(float(sys.argv[1]), int(sys.argv[2]))
    faults = run.run()
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(f"{sum(run.opened.values())} clients, {sum(run.done.values())} calls, GIL: {gil}")
    for what, count in faults.items():
        print(count, what)
    sys.exit(bool(faults))
else:
    import pytest

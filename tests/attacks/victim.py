"""A server in a process of its own, watched while it is attacked and honest clients use it."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict

from tests.attacks.figures import Bounds, Figures
from tests.attacks.honest_clients import Options, Seen
from tests.support.heads import request
from tests.support.processes import SMALL_HEAP, Program, module
from tests.support.rawclient import RawClient
from tests.support.waiting import eventually

LATENCY = 5.0
"""Seconds that an honest client may wait for an echo, on a machine that other programs use."""
WORK = 0.5
"""Seconds of CPU time that the server may spend on others meanwhile; a thousandth is usual."""
MEMORY = 8
"""MiB that an attack may cost, if its test doesn't say otherwise."""
LEFT = 4
"""MiB of it that may stay in use: allocators don't return everything."""
THREADS = 16
"""The option of that name, and how many more threads an attack may cost."""
SAMPLE_SECONDS = 0.02
BACKLOG = 30.0
"""Seconds that the server may take for data that the system still held when all had left."""
MIB = 1 << 20


def program(name, *arguments):
    """Return one of the programs in this package, which prints a line once it is ready."""
    env = {**SMALL_HEAP, "PYTHONDONTWRITEBYTECODE": "1"}
    return Program(module(f"tests.attacks.{name}", *arguments), env=env, talks=True)


class Victim:
    """The server's process, and the peers connected to it.

    Args:
        title: What attacks it.
        note: Called with the figures of each attack.
        options: Those of the server.
    """

    def __init__(self, title="", note=lambda figures: None, **options):
        options = {"threads": THREADS, **options}
        self.title, self.note = title, note
        self.process = program("victim_server", json.dumps(options))
        self.port = int(self.process.read_line())
        self.tls = "cert" in options
        self.peers = []
        self.usage, self.cpu = self.process.usage, self.process.cpu

    def dial(self, head=None, **options):
        """Return a peer that has connected, and sent *head* and read the answer, if any."""
        peer = RawClient(self.port, head, **options)
        self.peers.append(peer)
        return peer

    def connect(self, *fields, **options):
        """Return a peer whose handshake was accepted."""
        peer = self.dial(request("/", *fields), **options)
        assert peer.status == 101, peer.response
        return peer

    def report(self, run=""):
        """Return what the server says about itself, after running Python there."""
        return json.loads(self.process.ask(json.dumps(run)))

    def end(self):
        """Leave, and return the exit code of the server, which has to end by itself."""
        for peer in self.peers:
            peer.close()
        with self.process:
            return self.process.end()

    @contextmanager
    def honest_clients(self, verb):
        """Run honest clients; *verb* says to whom they broadcast: "room" or "all"."""
        options = Options(self.port, self.process.pid, self.tls, broadcasts=verb)
        with program("honest_clients", json.dumps(asdict(options))) as clients:
            assert clients.read_line() == "ready\n"
            clients.tell("begin")
            yield clients

    @contextmanager
    def attacked(self, *, memory=MEMORY, threads=THREADS, latency=LATENCY, work=WORK, verb="room"):
        """Check that honest clients and the process are well, whatever the block does.

        They lose nothing and wait no longer than is said; memory (MiB) and threads grow by no
        more than is said; and soon after all is as it was. Of the honest clients, who are three,
        the first broadcasts, to their "room" or to "all".
        """
        with self.honest_clients("room") as clients:  # warm up
            seen_by(clients)
        eventually(lambda: not self.report()["connections"])
        before, reported = self.usage(), self.report()
        cpu, since = self.cpu(), time.monotonic()
        try:
            with self.honest_clients(verb) as clients:
                with self._watch() as peaks:
                    yield
                seen = seen_by(clients)
                after = self.report()
        finally:
            for peer in self.peers:
                peer.close()
        figures = Figures(
            title=self.title,
            connections=after["accepted"] - reported["accepted"] - Options.count,
            sent=max(0, after["bytes_in"] - reported["bytes_in"] - seen.sent),
            others=seen,
            neighbours=None,
            cpu=self.cpu() - cpu,
            seconds=time.monotonic() - since,
            memory=peaks[0] - before[0],
            bounds=Bounds(max=1000 * latency, memory=memory),
        )
        self.note(figures)
        assert not figures.faults
        assert seen.messages > 0
        cost = {
            "seconds": (seen.max / 1000, latency),
            "CPU seconds": (seen.worked_max / 1000, work),
            "MiB": (figures.memory, memory),
            "threads": (peaks[1] - before[1], threads),
        }
        assert all(used <= bound for used, bound in cost.values()), cost
        bounds = before[0] + LEFT, before[1], before[2]
        left = {}

        def as_before():
            self.report("malloc_trim(0)")  # memory that is free between blocks in use is no leak
            left.update(zip(("MiB", "threads", "descriptors"), zip(self.usage(), bounds)))
            return all(now <= was for now, was in left.values())

        with suppress(AssertionError):
            eventually(as_before, BACKLOG)
        assert as_before(), left
        eventually(lambda: not self.report()["connections"], BACKLOG)
        report = self.report()
        assert (report["opened"], report["closed_again"]) == (report["closed"], 0)

    @contextmanager
    def _watch(self):
        peaks = list(self.usage())
        done = threading.Event()

        def sample():
            while not done.wait(SAMPLE_SECONDS):
                peaks[:] = map(max, peaks, self.usage())

        watcher = threading.Thread(target=sample)
        watcher.start()
        try:
            yield peaks
        finally:
            done.set()
            watcher.join()


def seen_by(clients):
    """Have honest clients stop, and return what they saw."""
    others, _ = json.loads(clients.ask("stop"))
    return Seen(**others)


def gone(peer):
    """Say whether the server has ended a connection; reads what came before that."""
    try:
        while os.read(peer.sock.fileno(), 1 << 16):  # which doesn't block: the socket has a timeout
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def push(peer, data):
    """Send what the system takes at once of *data*, or of what was left of it the last time.

    Returns how many bytes that was, None if the server has ended the connection.
    """
    left = peer.__dict__.get("left") or data
    try:
        sent = os.write(peer.sock.fileno(), left)
    except BlockingIOError:
        sent = 0
    except OSError:
        return None
    peer.left = left[sent:]
    return sent

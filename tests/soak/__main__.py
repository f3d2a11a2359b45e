"""Mixed traffic with churn, for as long as you like: `python -m tests.soak --minutes 30`.

A server runs in a process of its own (`tests.soak.server`), plain and with TLS, and compresses.
Clients come, send all kinds of messages, read fast or slowly or not at all, and go in all ways.
Memory, threads and descriptors of the server are sampled and drawn. It fails if anything is lost,
doubled or reordered, or if one of the three still grows: its median in the last quarter of the time
may exceed that in the second by no more than ALLOWED says.
"""

from __future__ import annotations

import argparse
import itertools
import random
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time

import matplotlib as mpl
from matplotlib import pyplot

from tests.support import certificates
from tests.support.client import Client
from tests.support.frames import BINARY, CONT, PING, TEXT, close_frame, frame
from tests.support.processes import SMALL_HEAP, Program, module
from tests.support.rawclient import connect

ALLOWED = {"memory, MiB": 6.0, "threads": 20.0, "descriptors": 20.0}
"""By how much the median of the last quarter may exceed that of the second."""
CLIENTS = 24
"""Clients at a time, each in a thread."""
SAMPLES = 240
"""Samples over the whole time."""
RESET = struct.pack("ii", 1, 0)


class Visitor(threading.Thread):
    """Lives one connection after another, each of a random kind."""

    def __init__(self, number, ports, context, end):
        super().__init__(daemon=True)
        self.random = random.Random(number)
        self.ports, self.context, self.end = ports, context, end
        self.connections = self.messages = 0
        self.error = ""

    def run(self):
        real = [self.talk] * 3 + [self.squeezed]
        raw = [self.echo] * 3 + [self.deaf, self.slow, self.rude, self.mute]
        while time.monotonic() < self.end and not self.error:
            life = self.random.choice(real + raw)
            path = "/deaf" if life == self.deaf else f"/{self.random.randrange(8)}"
            tls = self.random.random() < 0.4
            where = self.ports[tls], path
            context = self.context if tls else None
            try:
                self.connections += 1
                if life in raw:
                    with connect(*where, context=context) as peer:
                        life(peer)
                        self.leave(peer)
                else:
                    squeeze = life == self.squeezed
                    with Client(*where, ssl_context=context, compression=squeeze) as client:
                        life(client)
                        self.close(client)
            except Exception as error:
                self.error = f"{life.__name__}: {type(error).__name__}: {error}"

    # By a WSClient

    def talk(self, client):
        """Text and binary, whole and in fragments, which all have to come back, in order."""
        for number in range(self.random.randint(1, 40)):
            message = self.message(number)
            at = self.random.randint(0, len(message))
            whole = self.random.random() < 0.7
            assert client.send(message if whole else (message[:at], message[at:]))
            self.expect(client, message)

    def squeezed(self, client):
        """Compressed messages, which come back compressed."""
        assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]
        for _ in range(20):
            message = self.random.choice([b"x", b"xyz"]) * self.random.randint(2000, 50_000)
            assert client.send(message)
            self.expect(client, message)

    def close(self, client):
        """Close, or be cut while closing."""
        if self.random.random() < 0.3:
            client.shutdown(0)
        else:
            client.close()
            assert client.close_code == 1000, (client.close_code, client.close_reason)

    # By frames

    def leave(self, peer):
        """Say goodbye, or don't; the caller ends TCP."""
        if self.random.random() < 0.3:
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        elif self.random.random() < 0.7:
            peer.send_frames(close_frame())

    def echo(self, peer):
        """The same, many frames together, with pings between fragments."""
        numbers = itertools.count()
        for _ in range(self.random.randint(1, 40)):
            batch = [self.message(next(numbers)) for _ in range(self.random.choice([1, 1, 3, 20]))]
            frames = [self.frames(message) for message in batch]
            peer.sock.sendall(b"".join(frames))
            for message in batch:
                self.expect(peer, message)

    def message(self, number):
        size = self.random.choice([0, 5, 100, 1000, 20_000])
        verb = self.random.choice(["block"] + ["text"] * 60)
        text = f"{verb} {number} " + "ü" * self.random.randint(0, size)
        return text if self.random.random() < 0.6 else text.encode()

    def frames(self, message):
        opcode, payload = (
            (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
        )
        if self.random.random() < 0.7:
            return frame(opcode, payload)
        at = self.random.randint(0, len(payload))
        first = frame(opcode, payload[:at], fin=False)
        return first + frame(PING, b"p") + frame(CONT, payload[at:])

    def expect(self, peer, message):
        """Await the echo of a message, among what others say."""
        got = peer.recv()
        while isinstance(got, str) and got.startswith("room:"):
            got = peer.recv()
        assert got == message, f"{got[:50]!r} in place of {message[:50]!r}"
        self.messages += 1

    def deaf(self, peer):
        """Broadcast to clients that read nothing."""
        try:
            for _ in range(30):
                peer.send("room:" + "x" * 20_000)
        except OSError:
            pass  # cut, as it should be

    def slow(self, peer):
        """Read a few bytes at a time."""
        peer.send("room:" + "x" * 5000)
        for _ in range(50):
            peer.sock.recv(10)
            time.sleep(0.01)

    def rude(self, peer):
        """Send bytes that aren't a frame."""
        peer.send_frames(self.random.choice([b"\xff\xff", frame(TEXT, b"\xff"), b"\x81\x01x"]))

    def mute(self, peer):
        """Leave in the middle of a message."""
        peer.sock.sendall(frame(BINARY, bytes(100_000))[: self.random.randint(1, 100_000)])


def draw(path, minutes, samples, title):
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "soak"  # so that the same figures give the same bytes
    figure, axes = pyplot.subplots(len(ALLOWED), sharex=True, figsize=(8, 6), layout="tight")
    times = [minutes * number / len(samples) for number in range(len(samples))]
    for axis, name, values in zip(axes, ALLOWED, zip(*samples)):
        axis.plot(times, values, linewidth=1)
        axis.set_ylabel(name)
        axis.set_ylim(0, max(values) * 1.15)
        axis.grid(alpha=0.3)
    axes[0].set_title(title, fontsize=10)
    axes[-1].set_xlabel("minutes")
    figure.savefig(path, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--picture", help="where to draw, as SVG")
    options = parser.parse_args()
    if not sys.platform.startswith("linux"):
        print("soak: needs Linux, where /proc tells what a process uses")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        certificates.issue(folder)
        with Program(module("tests.soak.server", folder), env=SMALL_HEAP, talks=True) as server:
            ports = [int(port) for port in server.read_line().split()]
            clients, samples = soak(options.minutes * 60, ports, server)
            said = server.ask("stop")
            print(server.output(), end="")
    return judge(options, clients, samples, said)


def soak(seconds, ports, server):
    context = certificates.unverified_context()
    start = time.monotonic()
    clients = [Visitor(number, ports, context, start + seconds) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    samples = []
    for number in range(SAMPLES):
        time.sleep(max(0, start + seconds * number / SAMPLES - time.monotonic()))
        samples.append(server.usage())
    for client in clients:
        client.join(30)
    return clients, samples


def judge(options, clients, samples, said):
    quarter = len(samples) // 4
    faults = [client.error for client in clients if client.error]
    faults += ["a client hangs" for client in clients if client.is_alive()]
    if "True" not in said:
        faults.append("onclose was not called exactly once for each onopen")
    for (name, allowed), values in zip(ALLOWED.items(), zip(*samples)):
        second, last = values[quarter : 2 * quarter], values[-quarter:]
        before, after = statistics.median(second), statistics.median(last)
        print(f"{name}: {before:.1f} in the second quarter, {after:.1f} in the last")
        if after > before + allowed:
            faults.append(f"{name}: grew by {after - before:.1f}")
    messages = sum(client.messages for client in clients)
    connections = sum(client.connections for client in clients)
    title = f"{options.minutes:g} minutes: {messages:,} messages on {connections:,} connections"
    print(title)
    if options.picture:
        draw(options.picture, options.minutes, samples, title)
    print(*faults, sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

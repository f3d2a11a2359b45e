"""The load generator for machines without a C compiler; see load.c for its arguments.

It is slower than most servers, so it measures itself rather than them.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import ssl
import sys
import time
from dataclasses import dataclass, field
from typing import Callable

import psutil

from tests.support.frames import CLOSE, PING, PONG, close_frame, frame
from tests.support.heads import request

OPEN_SECONDS = 30
STALL_SECONDS = 0.25
STRETCH, ENOUGH_MESSAGES = 5, 8
"""A measurement may take this many times as long, to get at least this many messages."""
RECEIVE_SIZE = 1 << 18
CLOSE_FRAME = close_frame()
OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass
class Group:
    """Clients with the same messages."""

    clients: int
    messages: int
    batches: list[bytes]
    """Written one after another."""
    done: int = 0
    seconds: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Return a percentile of the response times, in microseconds."""
        ordered = sorted(self.seconds)
        return ordered[int(share * (len(ordered) - 1))] * 1e6 if ordered else 0.0


class Connection:
    """A client."""

    def __init__(self, load: Load, group: Group) -> None:
        self.load, self.group = load, group
        self.sock = socket.create_connection(("127.0.0.1", load.port), OPEN_SECONDS)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if load.context:
            self.sock = load.context.wrap_socket(self.sock)
        self.input = bytearray()
        self.output = memoryview(b"")
        self.skip = self.awaited = self.written = 0
        self.since = 0.0
        if load.mode != "raw":
            offers = [OFFER] if load.deflate else []
            self.sock.sendall(request("/", *offers, host=f"127.0.0.1:{load.port}"))
            while b"\r\n\r\n" not in self.input:
                received = self.sock.recv(RECEIVE_SIZE)
                if not received:
                    fail("the server has cut a connection")
                self.input += received
            if not self.input.startswith(b"HTTP/1.1 101"):
                fail("no 101")
            del self.input[: self.input.index(b"\r\n\r\n") + 4]
        self.sock.setblocking(False)

    def write_batch(self) -> None:
        self.awaited = self.group.messages
        batches = self.group.batches
        self.output = memoryview(batches[self.written % len(batches)])
        self.written += 1
        self.since = time.perf_counter()
        self.flush()

    def flush(self) -> None:
        waited = bool(self.load.waits.get(self.sock))
        try:
            while self.output:
                self.output = self.output[self.sock.send(self.output) :]
        except WOULD_BLOCK:
            pass
        if bool(self.output) != waited:
            self.load.waits[self.sock] = bool(self.output)
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.output else 0)
            self.load.selector.modify(self.sock, events, self)

    def handle(self) -> None:
        if self.output:
            self.flush()
        try:
            while True:
                received = self.sock.recv(RECEIVE_SIZE)
                if not received:
                    fail("the server has cut a connection")
                self.input += received
                self.load.answered(self, self.count())
        except WOULD_BLOCK:
            pass

    def count(self) -> int:
        """Return the number of messages completed by the input; answer pings."""
        data, messages = self.input, 0
        if self.load.mode == "raw":
            messages, rest = divmod(len(data), len(self.group.batches[0]) // self.group.messages)
            del data[: len(data) - rest]
            return messages
        start = 0
        while len(data) - start >= 2:
            size = data[start + 1]
            head = {126: 4, 127: 10}.get(size, 2)
            if head > 2:
                size = int.from_bytes(data[start + 2 : start + head], "big")
            if len(data) - start < head + size:
                break
            opcode = data[start] & 15
            if opcode == CLOSE:
                fail("closed by the server")
            elif opcode == PING:
                self.sock.send(frame(PONG, bytes(data[start + head : start + head + size])))
            elif opcode < CLOSE:
                messages += data[start] >> 7
            start += head + size
        del data[:start]
        return messages


class Load:
    """All clients."""

    def __init__(self, mode: str, port: int, tls: bool, deflate: bool, groups: list[Group]) -> None:
        self.mode, self.port, self.deflate, self.groups = mode, port, deflate, groups
        self.context = ssl._create_unverified_context() if tls else None
        self.selector = selectors.DefaultSelector()
        self.waits: dict[socket.socket, bool] = {}
        self.connections: list[Connection] = []
        self.delivered = self.cycles = 0
        self.heard = time.perf_counter()

    def open(self) -> None:
        """Open all connections; in the mode ``hold``, as many as there is time for."""
        end = time.monotonic() + OPEN_SECONDS
        for number, group in enumerate(self.groups):
            for _ in range(group.clients):
                if time.monotonic() > end:
                    return
                connection = Connection(self, group)
                self.connections.append(connection)
                if self.mode == "broadcast" and number:
                    continue  # never reads
                self.selector.register(connection.sock, selectors.EVENT_READ, connection)
                if self.mode == "hold":
                    connection.write_batch()
        while self.mode == "hold" and any(each.awaited > 0 for each in self.connections):
            self.turn()

    def turn(self) -> None:
        for key, _ in self.selector.select(0.01):
            key.data.handle()
        writer = self.connections[0]
        if self.mode == "broadcast" and time.perf_counter() - self.heard > STALL_SECONDS:
            if not writer.output:  # the message hasn't reached all: see load.c
                self.delivered, self.heard = 0, time.perf_counter()
                writer.write_batch()

    def answered(self, connection: Connection, messages: int) -> None:
        group = connection.group
        group.done += messages
        if self.mode == "broadcast":
            self.delivered += messages
            self.heard = time.perf_counter()
            writer = self.connections[0]
            if self.delivered >= group.messages * group.clients:
                self.delivered = 0
                group.seconds.append(time.perf_counter() - writer.since)
                writer.write_batch()
            return
        connection.awaited -= messages
        if messages and not connection.awaited and self.mode != "hold":
            group.seconds.append(time.perf_counter() - connection.since)
            connection.write_batch()

    def cycle(self) -> None:
        """Open and close a connection."""
        connection = Connection(self, self.groups[0])
        connection.sock.settimeout(OPEN_SECONDS)
        connection.sock.sendall(CLOSE_FRAME)
        while connection.sock.recv(RECEIVE_SIZE):
            pass
        connection.sock.close()
        self.cycles += 1

    def measure(self, pid: int, warm_up: float, seconds: float) -> None:
        server = psutil.Process(pid)
        turn: Callable[[], None] = self.cycle if self.mode == "connect" else self.turn
        if self.mode != "connect":
            writers = 1 if self.mode == "broadcast" else len(self.connections)
            for connection in self.connections[:writers]:
                connection.write_batch()
        end = time.perf_counter() + warm_up
        while time.perf_counter() < end:
            turn()
        self.cycles = 0
        for group in self.groups:
            group.done, group.seconds = 0, []
        since, own, before = time.perf_counter(), time.process_time(), server.cpu_times()
        while True:
            passed = time.perf_counter() - since
            enough = (self.cycles or self.groups[0].done) >= ENOUGH_MESSAGES
            if passed > seconds * (1 if enough else STRETCH):
                break
            turn()
        after = server.cpu_times()
        result = {
            "seconds": time.perf_counter() - since,
            "peer_cpu": sum(after[:2]) - sum(before[:2]),
            "peer_user_cpu": after.user - before.user,
            "load_cpu": time.process_time() - own,
            "cycles": self.cycles,
            "groups": [
                {
                    "messages": group.done,
                    "p50": group.percentile(0.5),
                    "p99": group.percentile(0.99),
                    "p999": group.percentile(0.999),
                }
                for group in self.groups
            ],
        }
        print(json.dumps(result))

    def hold(self) -> None:
        print(json.dumps({"open": len(self.connections)}), flush=True)
        self.selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is sys.stdin:
                    return
                key.data.handle()


def serve_floor() -> None:
    """Run the trivial server, which sends back the bytes that it receives."""
    selector = selectors.DefaultSelector()
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    selector.register(listener, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    print(f"ws://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                return
            if key.fileobj is listener:
                accepted, _ = listener.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(accepted, selectors.EVENT_READ)
                continue
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            try:
                received = sock.recv(RECEIVE_SIZE)
                sock.sendall(received)
            except OSError:
                received = b""
            if not received:
                selector.unregister(sock)
                sock.close()


def fail(reason: str) -> None:
    print(json.dumps({"error": reason}))
    sys.exit(1)


def _read(size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += os.read(sys.stdin.fileno(), size - len(data))
    return data


def main() -> None:
    """See load.c."""
    if sys.argv[1:] == ["floor"]:
        serve_floor()
        return
    mode, port, pid, warm_up, seconds, tls, deflate, *descriptions = sys.argv[1:]
    groups = []
    for description in descriptions:
        clients, messages, *sizes = map(int, description.split(","))
        groups.append(Group(clients, messages, [_read(size) for size in sizes]))
    load = Load(mode, int(port), bool(int(tls)), bool(int(deflate)), groups)
    try:
        if mode != "connect":
            load.open()
        if mode == "hold":
            load.hold()
        else:
            load.measure(int(pid), float(warm_up), float(seconds))
    except OSError as error:
        fail(str(error))


if __name__ == "__main__":
    main()

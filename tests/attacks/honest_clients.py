"""Well-behaved clients, and how long they wait: `python -m tests.attacks.honest_clients OPTIONS`.

OPTIONS, in JSON, are the attributes of `Options`. One thread sends for all clients at a fixed pace,
whether or not the last message was answered. So a server that stalls for a second makes all that is
sent in this second wait. The first client may broadcast, too, and all have to get the broadcasts.

The program prints "ready" when everybody is served. At the next line of its standard input it
begins to measure; at the one after that it stops, awaits what is missing, and prints in JSON what
the clients saw. Beside the time that an answer took stands the CPU time that the server used
meanwhile: it is about the same on a busy machine.
"""

from __future__ import annotations

import json
import selectors
import ssl
import sys
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass

from tests.support.certificates import unverified_context
from tests.support.chatclient import SUBPROTOCOL, hello
from tests.support.frames import CLOSE, PING, PONG, TEXT, FrameReader, frame
from tests.support.rawclient import connect
from tests.support.waiting import DEADLINE

BROADCAST_TURNS = 5
"""Turns of the first client between two broadcasts."""
CHAT_TURNS = 4
"""Of so many requests of a client to the chat, one says something; the others are pings."""
PATIENCE_SECONDS = 30.0
"""How long answers may be missing at the end. Those that don't come count as late as that."""


@dataclass
class Options:
    """Who the clients are, and what they do.

    Args:
        port: The server's.
        pid: Its process, whose CPU time is measured.
        tls: Whether it has TLS.
        chat: Whether it is the chat, and they talk.
        count: How many they are.
        apart: Whether each has an address of its own, 127.0.0.2 and so on. One more has 127.0.0.1:
            the neighbour of those who attack from there, of whom less is expected.
        pace: Seconds between the messages of a client.
        batch: How many messages a client sends together.
        path: What they ask for, and the name of their room.
        broadcasts: To whom the first one broadcasts at times: "room", "all", or "" for nobody.
    """

    port: int
    pid: int
    tls: bool = False
    chat: bool = False
    count: int = 3
    apart: bool = False
    pace: float = 0.02
    batch: int = 3
    path: str = "/honest"
    broadcasts: str = ""

    def cpu_time(self):
        """Return the seconds of CPU time that the server has used."""
        return time.clock_gettime(~self.pid << 3 | 2)  # Linux's clock of another process


class Client:
    """A client that sends numbers and awaits their echoes."""

    fields: tuple[str, ...] = ()

    def __init__(self, number, options):
        self.options = options
        self.source = f"127.0.0.{number + 1}" if options.apart else ""
        self.neighbour = self.source == "127.0.0.1"
        self.name = self.source or f"client {number}"
        self.peer = connect(
            options.port,
            options.path,
            *self.fields,
            source=self.source,
            context=unverified_context() if options.tls else None,
        )
        self.broadcasts = options.broadcasts if number == 0 else ""
        self.broadcast = 0  # the number of the last one
        self.heard = None  # the number of the last one that came
        self.reader = FrameReader()
        self.out = b""  # to be sent
        self.bytes_out = 0
        self.turns = self.sent = 0
        self.under_way = deque()  # the answer to expect, when its message was sent, and cpu_time
        self.error = ""
        self.samples = []  # milliseconds, and CPU milliseconds of the server
        self.enter()
        self.peer.sock.setblocking(False)

    def enter(self):
        """Say what comes before all else."""

    def message(self):
        """Return the next message, and what will answer it."""
        self.sent += 1
        return str(self.sent), str(self.sent)

    def tick(self):
        """Send the next messages."""
        self.turns += 1
        for _ in range(self.options.batch):
            message, answer = self.message()
            self.under_way.append((answer, time.monotonic(), self.options.cpu_time()))
            self.out += frame(TEXT, message.encode())
        if self.broadcasts and self.turns % BROADCAST_TURNS == 0:
            self.broadcast += 1
            self.out += frame(TEXT, f"{self.broadcasts}:{self.broadcast}".encode())
        self.flush()

    def flush(self):
        while self.out:
            try:
                sent = self.peer.sock.send(self.out)
            except (BlockingIOError, ssl.SSLWantWriteError):
                return
            self.bytes_out += sent
            self.out = self.out[sent:]

    def on_readable(self):
        while True:
            try:
                data = self.peer.sock.recv(1 << 16)
            except (BlockingIOError, ssl.SSLWantReadError):
                return
            if not data:
                raise EOFError("the server closed TCP")
            now, worked = time.monotonic(), self.options.cpu_time()
            for opcode, payload in self.reader.feed(data):
                if opcode == PING:
                    self.out += frame(PONG, payload)
                    self.flush()
                elif opcode == CLOSE:
                    raise EOFError(f"closed with {int.from_bytes(payload[:2], 'big')}")
                elif opcode == TEXT:
                    self.hear(payload.decode(), now, worked)

    def hear(self, text, now, worked):
        """Take an echo or a broadcast."""
        number = text.rpartition(":")[2]
        if number == text:
            self.note(text, now, worked)
        else:
            expected = int(number) if self.heard is None else self.heard + 1
            assert int(number) == expected, f"{text} in place of {expected}"
            self.heard = expected

    def note(self, answer, now, worked):
        """Note how long an answer took."""
        expected, sent, worked_before = self.under_way.popleft()
        assert answer == expected, f"{answer} in place of {expected}"
        self.samples.append(((now - sent) * 1000, (worked - worked_before) * 1000))


class Chatter(Client):
    """A person in the chat."""

    fields = (f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",)

    def enter(self):
        self.peer.send(json.dumps(hello(self.name, "lobby", self.name)))

    def message(self):
        self.sent += 1
        if self.sent % CHAT_TURNS:
            return json.dumps({"type": "ping"}), "pong"
        text = f"{self.name}: {self.sent}"
        return json.dumps({"type": "say", "text": text, "id": text}), text

    def hear(self, text, now, worked):
        event = json.loads(text)
        assert event["type"] != "error", f"refused: {event}"
        if event["type"] == "pong":
            self.note("pong", now, worked)
        elif event["type"] == "message" and event["id"].startswith(f"{self.name}: "):
            self.note(event["id"], now, worked)


class Honest:
    """All clients together."""

    def __init__(self, options):
        kind = Chatter if options.chat else Client
        self.clients = [kind(number, options) for number in range(options.count + options.apart)]
        self.pace = options.pace / len(self.clients)
        self.late = []  # by how many milliseconds we are late with sending
        self.selector = selectors.DefaultSelector()
        for client in self.clients:
            self.selector.register(client.peer.sock, selectors.EVENT_READ, client)
        self.begin = self.stop = False  # set by `take_orders`

    def take_orders(self):
        """Read the standard input, in a thread of its own."""
        deadline = time.monotonic() + DEADLINE
        while not all(client.samples or client.error for client in self.clients):
            if time.monotonic() > deadline:
                print("they are not all served", flush=True)
                return
            time.sleep(0.01)
        print("ready", flush=True)
        sys.stdin.readline()
        self.begin = True
        sys.stdin.readline()
        self.stop = True

    def run(self):
        """Send and receive until we are told to stop, and then until nothing is missing."""
        due, turn, least = time.monotonic(), 0, len(self.clients)
        while not self.stop or turn < least:
            now = time.monotonic()
            if self.begin:
                self.begin = False
                least += turn
                self.late.clear()
                for client in self.clients:
                    client.samples.clear()
            if now >= due:
                self.late.append((now - due) * 1000)
                self.act(self.clients[turn % len(self.clients)], Client.tick)
                turn, due = turn + 1, max(due + self.pace, now - 1)
            else:
                self.receive(due - now)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.missing() and time.monotonic() < deadline:
            self.receive(0.05)
        for client in self.missing():
            client.error = client.error or f"{client.name}: something is missing"

    def receive(self, seconds):
        """Wait until something comes, and take it."""
        for key, _ in self.selector.select(seconds):
            self.act(key.data, Client.on_readable)

    def act(self, client, what):
        """Have a client do something, and note it if it fails."""
        if client.error:
            return
        try:
            what(client)
        except (OSError, EOFError, ValueError, AssertionError) as error:
            client.error = f"{client.name}: {error}"
            self.selector.unregister(client.peer.sock)

    def missing(self):
        """Return the clients for which an answer or a broadcast is still to come."""
        last = self.clients[0].broadcast
        return [
            client
            for client in self.clients
            if client.under_way or (client.heard or 0) < last
            if not client.neighbour and not client.error
        ]


@dataclass
class Seen:
    """What clients saw.

    Args:
        messages: How many were answered.
        lost: How many were not.
        sent: Bytes, TLS and the handshakes aside.
        errors: What went wrong for single clients.
        p50: Milliseconds until an answer came, or else until the end; half of them came sooner.
        p99: The same, for 99 of 100.
        max: The same, for all.
        worked_p99: Milliseconds of CPU time that the server used meanwhile.
        worked_max: The same.
        late: Milliseconds by which the clients themselves were late to send; 99 of 100 were less.
    """

    messages: int
    lost: int
    sent: int
    errors: list[str]
    p50: float
    p99: float
    max: float
    worked_p99: float
    worked_max: float
    late: float


def part(values, portion):
    """Return the value below which this portion of them is; 0 if there are none."""
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * portion))] if values else 0.0


def seen(clients, late):
    """Return what clients saw."""
    now = time.monotonic()
    waited, worked = zip(*[sample for client in clients for sample in client.samples] or [(0, 0)])
    waited += tuple((now - sent) * 1000 for client in clients for _, sent, _ in client.under_way)
    return Seen(
        messages=sum(len(client.samples) for client in clients),
        lost=sum(len(client.under_way) for client in clients),
        sent=sum(client.bytes_out for client in clients),
        errors=[client.error for client in clients if client.error],
        p50=part(waited, 0.5),
        p99=part(waited, 0.99),
        max=max(waited),
        worked_p99=part(worked, 0.99),
        worked_max=max(worked),
        late=part(late, 0.99),
    )


def main():
    honest = Honest(Options(**json.loads(sys.argv[1])))
    threading.Thread(target=honest.take_orders, daemon=True).start()
    honest.run()
    others = seen([client for client in honest.clients if not client.neighbour], honest.late)
    neighbours = seen([client for client in honest.clients if client.neighbour], honest.late)
    print(json.dumps([asdict(others), asdict(neighbours)]), flush=True)


if __name__ == "__main__":
    main()

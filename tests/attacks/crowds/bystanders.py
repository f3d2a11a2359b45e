"""Honest clients, and how long they wait: `python -m tests.attacks.crowds.bystanders OPTIONS`.

OPTIONS in JSON: the "port" and the process id, "pid", of the server; whether it has "tls"; whether
it is the "chat". The clients are light: one thread sends a message of each at a fixed pace, whether
or not the last one was answered, so a server that stalls for a second makes a hundred messages
wait. All have addresses of their own, except for one, which shares that of the attackers.

It prints "ready" when all are served. At the next line of its standard input it begins to measure;
at the one after that it ends, awaits what is missing, and prints in JSON what they saw. Beside the
time that an answer took stands the CPU time that the server used meanwhile, which is about the same
on a busy machine.
"""

from __future__ import annotations

import json
import selectors
import ssl
import sys
import threading
import time
from collections import deque

from tests.attacks.crowds.table import CHAT
from tests.support.certificates import unverified_context
from tests.support.chatclient import hello
from tests.support.frames import CLOSE, PING, PONG, TEXT, FrameReader, frame
from tests.support.rawclient import connect
from tests.support.waiting import DEADLINE

COUNT = 8
"""Clients with addresses of their own."""
PACE_SECONDS = 0.02
"""Seconds between two messages of a client."""
CHAT_PACE_SECONDS = 0.1
"""The same in the chat, which allows no more."""
CHAT_TURNS = 4
"""Of so many requests of a client to the chat, one says something; the others are pings."""
PATIENCE_SECONDS = 30.0
"""How long answers may be missing at the end. Those that don't come count as late as that."""


class Bystander:
    """A client that sends numbers and awaits their echoes."""

    fields: tuple[str, ...] = ()
    pace = PACE_SECONDS

    def __init__(self, number, port, context):
        self.source = f"127.0.0.{number + 1}"
        self.peer = connect(port, "/", *self.fields, source=self.source, context=context)
        self.peer.sock.setblocking(False)
        self.reader = FrameReader()
        self.out = b""  # to be sent
        self.sent = 0
        self.under_way = deque()  # what was sent, when, and the server's CPU time then
        self.error = ""
        self.samples = []  # milliseconds, and CPU milliseconds of the server
        self.begin(number)

    def begin(self, number):
        """Say what comes before all else."""

    @property
    def neighbour(self):
        """Whether it has the attackers' address."""
        return self.source == "127.0.0.1"

    def message(self):
        """Return the next message, and what will answer it."""
        self.sent += 1
        return str(self.sent), str(self.sent)

    def answers(self, text):
        """Return which message a text answers, or None."""
        return text

    def tick(self):
        """Send the next message."""
        message, answer = self.message()
        self.under_way.append((answer, time.monotonic(), cpu_time()))
        self.out += frame(TEXT, message.encode())
        self.flush()

    def flush(self):
        while self.out:
            try:
                self.out = self.out[self.peer.sock.send(self.out) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                return

    def on_readable(self):
        while not self.error:
            try:
                data = self.peer.sock.recv(1 << 16)
            except (BlockingIOError, ssl.SSLWantReadError):
                return
            if not data:
                raise EOFError("the server closed TCP")
            now, worked = time.monotonic(), cpu_time()
            for opcode, payload in self.reader.feed(data):
                if opcode == PING:
                    self.out += frame(PONG, payload)
                    self.flush()
                elif opcode == CLOSE:
                    raise EOFError(f"closed with {int.from_bytes(payload[:2], 'big')}")
                elif opcode == TEXT:
                    self.note(self.answers(payload.decode()), now, worked)

    def note(self, answer, now, worked):
        if answer is None:
            return
        expected, sent, worked_before = self.under_way.popleft()
        if answer != expected:
            raise ValueError(f"{answer} in place of {expected}")
        self.samples.append(((now - sent) * 1000, (worked - worked_before) * 1000))


class Chatter(Bystander):
    """A person in the chat."""

    fields = (CHAT,)
    pace = CHAT_PACE_SECONDS

    def begin(self, number):
        name = f"Ann {number}"
        self.peer.sock.setblocking(True)
        self.peer.send(json.dumps(hello(name, "lobby", name)))
        self.peer.sock.setblocking(False)

    def message(self):
        self.sent += 1
        if self.sent % CHAT_TURNS:
            return json.dumps({"type": "ping"}), "pong"
        name = f"{self.source} {self.sent}"
        return json.dumps({"type": "say", "text": name, "id": name}), name

    def answers(self, text):
        event = json.loads(text)
        if event["type"] == "error":
            raise ValueError(f"refused: {event['text']}")
        if event["type"] == "message" and event["id"].startswith(f"{self.source} "):
            return event["id"]
        return "pong" if event["type"] == "pong" else None


def cpu_time():
    """Return the seconds of CPU time that the server has used."""
    return time.clock_gettime(~options["pid"] << 3 | 2)  # Linux's clock of another process


def run(clients, orders):
    """Send and receive until we are told to end, and until all answers are there."""
    selector = selectors.DefaultSelector()
    for client in clients:
        selector.register(client.peer.sock, selectors.EVENT_READ, client)
    pace = clients[0].pace / len(clients)
    due, turn, late = time.monotonic(), 0, []
    until = None
    while True:
        now = time.monotonic()
        if orders and orders[0] == "begin":
            orders.popleft()
            for client in clients:
                client.samples.clear()
            late.clear()
        if orders and until is None:
            until = now + PATIENCE_SECONDS
        if until is None and now >= due:
            late.append((now - due) * 1000)
            act(selector, clients[turn % len(clients)], Bystander.tick)
            turn, due = turn + 1, max(due + pace, now - 1)
            continue
        missing = any(
            client.under_way and not client.error for client in clients if not client.neighbour
        )
        if until is not None and (not missing or now > until):
            return late
        for key, _ in selector.select(max(0, due - now) if until is None else 0.05):
            act(selector, key.data, Bystander.on_readable)


def act(selector, client, what):
    """Have a client do something, and note it if it fails."""
    if client.error:
        return
    try:
        what(client)
    except (OSError, EOFError, ValueError) as error:
        client.error = f"{client.source}: {error}"
        selector.unregister(client.peer.sock)


def part(values, portion):
    """Return the value below which this portion of them is; 0 if there are none."""
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * portion))] if values else 0.0


def report(clients, late):
    """Return what clients saw: milliseconds, and counts."""
    now = time.monotonic()
    waited, worked = zip(*[sample for client in clients for sample in client.samples] or [(0, 0)])
    waited += tuple((now - sent) * 1000 for client in clients for _, sent, _ in client.under_way)
    return {
        "messages": sum(len(client.samples) for client in clients),
        "lost": sum(len(client.under_way) for client in clients),
        "errors": [client.error for client in clients if client.error],
        **{f"p{int(100 * portion)}": part(waited, portion) for portion in (0.5, 0.99)},
        "max": max(waited),
        "worked_p99": part(worked, 0.99),
        "worked_max": max(worked),
        "late": part(late, 0.99),
    }


options = {}


def main():
    options.update(json.loads(sys.argv[1]))
    context = unverified_context() if options["tls"] else None
    kind = Chatter if options["chat"] else Bystander
    clients = [kind(number, options["port"], context) for number in range(COUNT + 1)]
    orders = deque()

    def listen():
        served = time.monotonic() + DEADLINE
        while not all(client.samples or client.error for client in clients):
            assert time.monotonic() < served, "they are not all served"
            time.sleep(0.01)
        print("ready", flush=True)
        for line in sys.stdin:
            orders.append(line.strip())

    threading.Thread(target=listen, daemon=True).start()
    late = run(clients, orders)
    others = report([client for client in clients if not client.neighbour], late)
    neighbour = report([client for client in clients if client.neighbour], late)
    print(json.dumps({**others, "neighbour": neighbour}), flush=True)


if __name__ == "__main__":
    main()

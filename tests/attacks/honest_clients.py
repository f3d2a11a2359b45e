"""Well-behaved clients, as a program of its own.

`python -m tests.attacks.honest_clients VERB PID PORT [tls]` runs it.

Each sends numbered messages and awaits their echoes. The first one also sends numbered broadcasts,
to the "room" or to "all", as VERB says, and all have to get them. The program prints "ready" when
everybody is served. At the next line of its standard input it stops, and prints in JSON what they
saw. PID is the server's, whose CPU time is measured: it tells for how long the server served others
meanwhile, however busy the machine is.
"""

from __future__ import annotations

import json
import sys
import threading
import time

from tests.support.certificates import unverified_context
from tests.support.frames import TEXT, frame
from tests.support.rawclient import connect
from tests.support.waiting import DEADLINE, eventually

COUNT = 3
"""The number of clients."""
BATCH = 3
"""Messages sent at once."""
PAUSE_SECONDS = 0.01
"""Seconds between an echo and the next message."""
BROADCASTS = 5
"""Batches between two broadcasts."""


class Client:
    """One client, in a thread of its own."""

    def __init__(self, number):
        self.peer = connect(port, "/honest", context=context)
        self.peer.answers_pings = True
        self.broadcasts = number == 0 and verb
        self.sent = self.served = self.broadcast = self.waited = self.worked = 0
        self.heard = None  # the number of the last broadcast
        self.error = ""
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        try:
            last_round = False
            while not last_round:
                last_round = stop.wait(PAUSE_SECONDS)
                self.round()
            if self.broadcasts:
                last.append(self.broadcast)
            eventually(lambda: last)
            while (self.heard or 0) < last[0]:
                self.read()
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"

    def round(self):
        """Send a batch, and read until its last echo is there."""
        texts = [f"{number}" for number in range(self.sent, self.sent + BATCH)]
        self.sent += BATCH
        if self.broadcasts and self.sent % (BATCH * BROADCASTS) == 0:
            self.broadcast += 1
            texts.append(f"{self.broadcasts}:{self.broadcast}")
        waited, worked = time.monotonic(), cpu_time()
        self.peer.send_frames(*[frame(TEXT, text.encode()) for text in texts])
        while self.served < self.sent:
            self.read()
        self.waited = max(self.waited, time.monotonic() - waited)
        self.worked = max(self.worked, cpu_time() - worked)

    def read(self):
        message = self.peer.recv()
        number = message.rpartition(":")[2]
        if number == message:
            assert message == str(self.served), f"{message} in place of {self.served}"
            self.served += 1
        else:
            expected = int(number) if self.heard is None else self.heard + 1
            assert int(number) == expected, f"{message} in place of {expected}"
            self.heard = expected


def cpu_time():
    """Return the seconds of CPU time that the server has used."""
    return time.clock_gettime(~server << 3 | 2)  # Linux's clock of another process


verb, server, port, *tls = sys.argv[1:]
server, port = int(server), int(port)
context = unverified_context() if tls else None
stop, last = threading.Event(), []
clients = [Client(number) for number in range(COUNT)]
for client in clients:
    client.thread.start()
eventually(lambda: all(client.served or client.error for client in clients))
for client in clients:
    client.waited = client.worked = 0
print("ready", flush=True)
sys.stdin.readline()
stop.set()
for client in clients:
    client.thread.join(2 * DEADLINE)
report = {
    "errors": [client.error for client in clients if client.error],
    "lost": sum(client.sent - client.served for client in clients),
    "messages": sum(client.served for client in clients),
    "broadcasts": last[0] if last else None,
    "waited": max(client.waited for client in clients),
    "worked": max(client.worked for client in clients),
}
print(json.dumps(report), flush=True)

"""An outbox on a socket that does as the test says, with stand-ins for the loop and the rest."""

from __future__ import annotations

import math
import threading

from tests.support.waiting import DEADLINE
from ws.engine.cork import WriteBatch
from ws.engine.outbox import Outbox
from ws.engine.poll import READ
from ws.engine.sockets import PlainClient, TLSClient

SWITCHING = b"101\r\n\r\n"
CLOSE = b"\x88\x02\x03\xe8"
LIMIT = 1000


class Wire:
    """What a socket does: it takes so many bytes, and then blocks or fails."""

    def __init__(self):
        self.room = math.inf
        self.error = BlockingIOError()
        self.calls = []
        self.ended = []

    def send(self, data):
        if self.room <= 0:
            raise self.error
        taken = bytes(data[: min(self.room, len(data))])
        self.room -= len(taken)
        self.calls.append(taken)
        return len(taken)

    def unwrap(self):
        self.ended.append("close_notify")

    @property
    def sent(self):
        return b"".join(self.calls)


class Plain(Wire, PlainClient):
    """A plain socket without a descriptor."""


class TLS(Wire, TLSClient):
    """A TLS socket without a descriptor."""


class Line:
    """An outbox that has been opened, with all that it works with."""

    def __init__(self, wire, limit=LIMIT, deflate=None):
        self.wire = wire
        self.watched = 0
        self.cuts = []
        self.batch = WriteBatch(lambda source: self.flush())
        self.outbox = Outbox(wire, self, self, self.batch, limit, self.cuts.append)
        self.outbox.open(SWITCHING, deflate)
        wire.calls.clear()

    def watch(self, source, add=0, remove=0):
        """Stand in for the loop's method."""
        assert source is self
        assert add & READ == remove & READ == 0, "the connection decides on reading"
        self.watched = self.watched & ~remove | add

    def block(self, error=None):
        self.wire.room, self.wire.error = 0, error or BlockingIOError()

    def unblock(self, room=math.inf):
        """Let the socket take more, and tell the outbox, as the loop does."""
        self.wire.room = room
        self.flush()

    def flush(self):
        with self.outbox.lock:
            self.outbox.flush()

    def fill(self, size=LIMIT):
        """Have *size* bytes wait."""
        self.block()
        assert self.outbox.put(b"-" * size)

    def close(self):
        with self.outbox.lock:
            self.outbox.close(CLOSE)

    def end(self):
        with self.outbox.lock:
            self.outbox.end()

    def dispose(self):
        with self.outbox.lock:
            self.outbox.dispose()


class Attempt:
    """A call in a thread of its own."""

    def __init__(self, call, *arguments):
        self.result = None
        self._thread = threading.Thread(target=self._run, args=(call, *arguments), daemon=True)
        self._thread.start()

    def _run(self, call, *arguments):
        self.result = call(*arguments)

    def get(self):
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        return self.result

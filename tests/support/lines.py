"""An outbox on a socket that does as the test says, with stand-ins for the loop and the rest."""

from __future__ import annotations

import math
import threading
from types import SimpleNamespace
from typing import Any, Callable

from tests.support.waiting import DEADLINE
from ws.engine.budget import Holder
from ws.engine.cork import WriteBatch
from ws.engine.outbox import Outbox
from ws.engine.overload import Overload
from ws.engine.poll import READ
from ws.engine.sockets import PlainClient, TLSClient
from ws.wire.deflate import Deflate

SWITCHING = b"101\r\n\r\n"
CLOSE = b"\x88\x02\x03\xe8"
LIMIT = 1000


class Wire:
    """What a socket does: it takes this many bytes, and then blocks or fails."""

    def __init__(self) -> None:
        self.room: float = math.inf
        self.error: Exception = BlockingIOError()
        self.calls: list[bytes] = []
        self.ended: list[str] = []
        self.untaken_bytes = 0
        """What the system holds, which the peer hasn't taken."""

    def send(self, data: Any) -> int:
        if self.room <= 0:
            raise self.error
        taken = bytes(data[: int(min(self.room, len(data)))])
        self.room -= len(taken)
        self.calls.append(taken)
        return len(taken)

    def unwrap(self) -> None:
        self.ended.append("close_notify")

    def untaken(self) -> int:
        return self.untaken_bytes

    @property
    def sent(self) -> bytes:
        return b"".join(self.calls)


class Plain(Wire, PlainClient):  # type: ignore[misc]
    """A plain socket without a descriptor."""


class TLS(Wire, TLSClient):  # type: ignore[misc]
    """A TLS socket without a descriptor."""


class Line(Holder):
    """An outbox, and stand-ins for everything that it uses.

    Args:
        wire: The socket.
        limit: The high-water mark.
        deflate: The extension for compression.
        patience: Seconds without progress after which the client is too slow.
        budget: Bytes that it may hold.
        opened: Whether its 101 response was written.
        batch: What collects writes, if a test has one of its own.
    """

    def __init__(
        self,
        wire: Any,
        limit: int = LIMIT,
        deflate: Deflate | None = None,
        patience: float = DEADLINE,
        budget: int = 1 << 40,
        opened: bool = True,
        batch: Any = None,
    ) -> None:
        super().__init__()
        self.wire = wire
        self.watched = 0
        self.drains = 0
        self.cuts: list[str] = []
        self.deadlines: list[float | None] = []
        self.batch = batch or WriteBatch(lambda source: self.flush())
        itself: Any = self  # both the source and the loop
        limits: Any = SimpleNamespace(max_memory=budget, max_message_size=0)
        overload = Overload(limits, print)
        overload.run(itself)
        self.budget = overload.budget
        self.outbox = Outbox(
            *(wire, itself, itself, self.batch, overload, limit, patience, self.cuts.append)
        )
        if opened:
            self.outbox.open(SWITCHING, deflate)
            wire.calls.clear()

    def watch(self, source: object, add: int = 0, remove: int = 0) -> None:
        """Stand in for the loop's method."""
        assert source is self
        assert add & READ == remove & READ == 0, "the connection decides on reading"
        self.watched = self.watched & ~remove | add

    def drained(self, source: object) -> None:
        """Stand in for the loop's method."""
        assert source is self and not self.congested
        self.drains += 1

    def schedule(self, source: object, deadline: float | None) -> None:
        """Stand in for the loop's method."""
        self.deadlines.append(deadline)

    def moved(self) -> float:
        return self.outbox.moved()

    def shed(self, reason: str) -> None:
        self.cuts.append(reason)
        self.dispose()

    def block(self, error: Exception | None = None) -> None:
        self.wire.room, self.wire.error = 0, error or BlockingIOError()

    def unblock(self, room: float = math.inf) -> None:
        """Let the socket take more, and tell the outbox, as the loop does."""
        self.wire.room = room
        self.flush()

    def flush(self) -> None:
        with self.outbox.lock:
            self.outbox.flush()

    def fill(self, size: int = LIMIT) -> None:
        """Have *size* bytes wait."""
        self.block()
        assert self.outbox.put(b"-" * size)

    def close(self) -> None:
        with self.outbox.lock:
            self.outbox.close(CLOSE)

    def end(self) -> None:
        with self.outbox.lock:
            self.outbox.end()

    def dispose(self) -> None:
        with self.outbox.lock:
            self.outbox.dispose()


class Attempt:
    """A call in a thread of its own."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.result: Any = None
        self._thread = threading.Thread(target=self._run, args=(call, *arguments), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.result = call(*arguments)

    def get(self) -> Any:
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        return self.result

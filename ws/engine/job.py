"""What is known of a callback that runs in a worker."""

from __future__ import annotations

import time

from .clocks import computing_time, thread_clock
from .shares import Share


class Job:
    """A callback that runs in a worker."""

    __slots__ = ("clock", "computed", "computes", "endless", "share", "started", "unseen")

    def __init__(self, share: Share, ident: int) -> None:
        self.share: Share = share
        self.clock: int | None = thread_clock(ident)
        self.computed: float = computing_time(self.clock)
        self.started: float = time.monotonic()
        self.unseen: bool = True  # whether it has to be seen what it does
        self.computes: bool = False  # whether it was seen computing
        self.endless: bool = False  # whether it takes so long that its share must not wait

    def blocks(self, age: float) -> bool:
        """Say whether it has computed for only a small part of its age, in seconds."""
        return computing_time(self.clock) - self.computed < age / 10

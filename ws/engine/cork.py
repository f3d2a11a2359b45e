"""Write batching ("corking"): frames that are made while one read is handled leave together."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Callable

from .loop import Source


class WriteBatch:
    """Collects writes until the input of one read is handled.

    The leader opens the batch, and closes it at the end of the read. While the batch is open,
    outboxes add their source instead of writing. If the leader loses the lead, the monitor closes
    the batch.

    Args:
        write: Called with each source in the batch when it is closed. It never raises.
    """

    __slots__ = ("_write", "open", "waiting")

    def __init__(self, write: Callable[[Source], object]) -> None:
        self.open: bool = False
        """Whether frames wait for the end of the read."""
        self.waiting: deque[Source] = deque()
        """The sources that have such frames."""
        self._write = write

    def add(self, source: Source) -> bool:
        """Have *source* written when the batch is closed.

        Returns:
            False if the batch may have been closed just before, without *source*. The caller then
            writes itself.
        """
        self.waiting.append(source)
        return self.open

    def close(self) -> None:
        """Write to the sources that were added."""
        self.open = False
        with suppress(IndexError):  # another thread took the last one
            while self.waiting:
                self._write(self.waiting.popleft())

"""The cork: frames that are written while one read is handled leave together."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Callable

from .loop import Source


class WriteBatch:
    """Delays writing while more input of one read is to be handled.

    The leader opens the batch, and closes it at the end of the read. While it is open, outboxes
    add their source instead of writing. If the leader loses the lead, the monitor closes it.

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
            False if that may have happened just now, so that *source* may have been missed.
        """
        self.waiting.append(source)
        return self.open

    def close(self) -> None:
        """Write what has waited."""
        self.open = False
        with suppress(IndexError):  # another thread took the last one
            while self.waiting:
                self._write(self.waiting.popleft())

"""The deadlines of all sources, in one heap."""

from __future__ import annotations

import heapq
import math
from typing import Any, Iterator

TICKS_PER_SECOND = 16
"""Deadlines are kept to a sixteenth of a second, so that many share one wake-up."""


class Timers:
    """One deadline for each source: the last one that was set.

    Sources have the attributes `tick`, which only this class uses, and `forgotten`.
    """

    def __init__(self) -> None:
        self.due: float = math.inf
        """The time (time.monotonic) at which to call `expired` next."""
        self.changes: dict[Any, float | None] = {}
        """Deadlines that were set since `apply`. Any thread may add one."""
        self._sources: dict[int, set[Any]] = {}  # by tick
        self._ticks: list[int] = []  # a heap of the keys of _sources

    def apply(self) -> None:
        """Apply the changes to the heap. Only the leader calls it."""
        self.due = math.inf  # meanwhile, so that `Loop.schedule` doesn't compare with an old one
        while self.changes:
            source, deadline = self.changes.popitem()
            if source.tick is not None:
                self._sources[source.tick].discard(source)
                source.tick = None
            if deadline is not None and not source.forgotten:
                source.tick = tick = int(deadline * TICKS_PER_SECOND) + 1
                if tick not in self._sources:
                    self._sources[tick] = set()
                    heapq.heappush(self._ticks, tick)
                self._sources[tick].add(source)
        while self._ticks and not self._sources[self._ticks[0]]:
            del self._sources[heapq.heappop(self._ticks)]
        self.due = self._ticks[0] / TICKS_PER_SECOND if self._ticks else math.inf

    def expired(self, now: float) -> Iterator[Any]:
        """Yield the sources whose deadline has passed. They have none afterwards."""
        while self._ticks and self._ticks[0] <= now * TICKS_PER_SECOND:
            for source in self._sources.pop(heapq.heappop(self._ticks)):
                source.tick = None
                if source not in self.changes:  # else it has a new deadline, or none
                    yield source
        self.apply()

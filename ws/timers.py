"""Deadlines, of all sources together."""

from __future__ import annotations

import heapq
import math
from typing import Any, Iterator

TICKS = 16
"""Deadlines are kept to a sixteenth of a second, so that many share one wake-up."""


class Timers:
    """One deadline for each source, the last that was set.

    Sources have the attributes `tick`, for this class alone, and `forgotten`.
    """

    def __init__(self) -> None:
        self.due = math.inf
        """The time (time.monotonic) at which to call `expired` next."""
        self.changes: dict[Any, float | None] = {}
        """What was scheduled since `apply`."""
        self._sources: dict[int, set[Any]] = {}  # by tick
        self._ticks: list[int] = []  # a heap of the keys of _sources

    def apply(self) -> None:
        """Take over what was scheduled."""
        while self.changes:
            source, deadline = self.changes.popitem()
            if source.tick is not None:
                self._sources[source.tick].discard(source)
                source.tick = None
            if deadline is not None and not source.forgotten:
                source.tick = tick = int(deadline * TICKS) + 1
                if tick not in self._sources:
                    self._sources[tick] = set()
                    heapq.heappush(self._ticks, tick)
                self._sources[tick].add(source)
        while self._ticks and not self._sources[self._ticks[0]]:
            del self._sources[heapq.heappop(self._ticks)]
        self.due = self._ticks[0] / TICKS if self._ticks else math.inf

    def expired(self, now: float) -> Iterator[Any]:
        """Yield the sources whose deadline has passed; these have none any more."""
        while self._ticks and self._ticks[0] <= now * TICKS:
            for source in self._sources.pop(heapq.heappop(self._ticks)):
                source.tick = None
                yield source
        self.apply()

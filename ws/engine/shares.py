"""What each address takes of a server, and whose turn it is when there is more to do than time."""

from __future__ import annotations

import heapq
import itertools
from typing import Any, Callable

CREDIT_SECONDS = 0.01
"""How much less than others a share or source counts as having used, at most, when it has waited
for nothing."""


class Share:
    """What the connections of one address take of a server together.

    Args:
        address: The IPv4 address, or the network of IPv6 (/64). Or "unknown" for clients whose
            proxy doesn't tell their address, and "" for the peers of a Unix socket.
    """

    __slots__ = "address connections endless floor held trust used width workers".split()

    def __init__(self, address: str = "") -> None:
        self.address: str = address
        self.connections: int = 0
        """How many connections the address has."""
        self.held: int = 0
        """Bytes of memory that these hold."""
        self.used: float = 0.0
        """Seconds that it has used, see `Turns`."""
        self.floor: float = 0.0
        """Seconds that its sources have used, in the mean."""
        self.workers: int = 0
        """How many workers run its callbacks."""
        self.width: int = 1 << 30
        """How many may. It shrinks when callbacks compute, and grows when they block."""
        self.endless: int = 0
        """How many of them take so long that the others don't wait for them."""
        self.trust: int = 0
        """How many of its callbacks in workers were quick since the last slow one, which makes it
        negative."""


NOBODY = Share()
"""The share of what has no peer, and needs hardly any time."""


class Turns:
    """Fair queueing: who has used least time is served first, by share and then by source.

    So a thousand connections of one address weigh as much as one connection of another. Nobody
    saves up time: who had nothing to do counts as having used what the others have in the mean,
    less a small credit. So a client who needs little is served at once.

    Only what was used while others waited is charged. This is start-time fair queueing (Goyal et
    al. 1996), with the sleepers' credit of Linux's scheduler.

    Only the leader calls `begin` and `order`. Any thread may call `charge`; if two charge the same
    share at once, one charge may be lost.
    """

    def __init__(self) -> None:
        self._floor = 0.0  # what shares have used in the mean
        self._most = 0.0  # what any share has used
        self._waiting = 1  # how many sources are ready

    def begin(self) -> None:
        """Have all shares begin anew, because nobody has waited lately."""
        self._floor = self._most + CREDIT_SECONDS

    def order(self, ready: list[tuple[Any, int]]) -> None:
        """Sort ready sources, each with its readiness: the least served first."""
        least = self._floor - CREDIT_SECONDS

        def used(entry: tuple[Any, int]) -> tuple[float, float]:
            source = entry[0]
            share = source.share
            return max(share.used, least), max(source.used, share.floor - CREDIT_SECONDS)

        ready.sort(key=used)
        self._waiting = len(ready) or 1  # a worker may charge while nobody is ready

    def charge(self, source: Any, seconds: float) -> None:
        """Count time that was used for a source."""
        share, used = source.share, source.used
        source.used = max(used, share.floor - CREDIT_SECONDS) + seconds
        share.floor = max(share.floor + seconds / (share.connections or 1), used)
        used = share.used
        share.used = max(used, self._floor - CREDIT_SECONDS) + seconds
        self._floor = max(self._floor + seconds / self._waiting, used)
        self._most = max(self._most, share.used)


class FairQueue:
    """Sources that wait for a worker. Shares take turns; those without a worker come first.

    Of one share, the source that has used least time comes first.

    The caller guards it with a lock.

    Args:
        limit: How many workers there may be. One share may have three quarters of them.
        is_one_share: Says whether there is only one share. It may have all.
    """

    def __init__(self, limit: int, is_one_share: Callable[[], bool]) -> None:
        self.size: int = 0
        """How many sources wait, including those of shares that have all their workers."""
        self._limit, self._is_one_share = limit, is_one_share
        self._most = max(1, limit - limit // 4)
        self._sources: dict[Share, list[tuple[float, int, Any]]] = {}  # a heap for each share
        self._numbers = itertools.count()
        self._idle: dict[Share, None] = {}  # shares without a worker, in order
        self._busy: dict[Share, None] = {}  # others, in order; those that have all are in neither

    def __bool__(self) -> bool:
        """Whether there is a source to pop."""
        return bool(self._idle or self._busy)

    def add(self, source: Any) -> None:
        """Add a source."""
        self.size += 1
        share = source.share
        used = max(source.used, share.floor - CREDIT_SECONDS)
        heapq.heappush(self._sources.setdefault(share, []), (used, next(self._numbers), source))
        if len(self._sources[share]) == 1:
            self.place(share)

    def pop(self) -> Any:
        """Remove and return the next source, or None. Count one more worker of its share."""
        shares = self._idle or self._busy
        if not shares:
            return None
        share = next(iter(shares))
        sources = self._sources[share]
        source = heapq.heappop(sources)[2]
        self.size -= 1
        if not sources:
            del self._sources[share]
        share.workers += 1
        self.place(share)
        return source

    def place(self, share: Share) -> None:
        """Let a share be the last one to have a turn. Call it when `workers` has changed."""
        self._idle.pop(share, None)
        self._busy.pop(share, None)
        if share in self._sources:
            if not share.workers:
                self._idle[share] = None
            else:
                most = self._limit if self._is_one_share() else self._most  # defence: thread-share
                if share.workers < min(share.width + share.endless, most):
                    self._busy[share] = None

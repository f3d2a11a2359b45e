"""The account of the memory that connections hold by their peers' doing."""

from __future__ import annotations

import threading
import time
from math import inf
from typing import Any

from .loop import Source
from .shares import Share

STALL_SECONDS = 2.0
"""A holder that has made no progress for this long is among the first to be cut."""
SLOT_BYTES = 16
"""What it takes to hold a shared buffer, besides the buffer itself."""
BUFFER_BYTES = 256
"""What a shared buffer takes, besides its bytes."""
SURVEY_SECONDS = 0.05
"""`allowance` is found out anew after this long."""


class Holder(Source):
    """A source that holds memory by its peer's doing."""

    __slots__ = ("held", "shared")

    def __init__(self) -> None:
        super().__init__()
        self.held: int = 0
        """Bytes that it holds by itself."""
        self.shared: int = 0
        """Bytes of the buffers that it holds, and that others may hold, too."""

    def moved(self) -> float:
        """Return when it has made progress last, by time.monotonic()."""
        raise NotImplementedError

    def pause(self, paused: bool) -> None:
        """Stop reading, or read on. Called by the leader."""
        raise NotImplementedError

    def shed(self, reason: str) -> None:
        """End at once, and free what any thread may free. Waits for no lock."""
        raise NotImplementedError

    def free(self) -> None:
        """Free the rest. Called after `shed`, by the leader."""
        raise NotImplementedError


class Budget:
    """Counts the bytes of all holders together. Any thread may call any method.

    A buffer that several holders share counts once in the total. In comparing holders, all such
    buffers together are divided among them, in proportion to what each holds of them.

    Args:
        limit: Bytes that all may hold together. It isn't enforced here.
    """

    def __init__(self, limit: int) -> None:
        self.limit: int = limit
        self.lock: Any = threading.RLock()
        """Guards all figures. Held only briefly. Reentrant: `Lifecycle.wait` has to know whether
        the calling thread holds it."""
        self._held = 0  # by holders by themselves
        self._shared = 0  # in shared buffers, each counted once
        self._sharings = 0  # in shared buffers, each counted as often as it is held
        self._falling = 0  # what the condemned hold by themselves
        self._buffers: dict[int, int] = {}  # how many hold each shared buffer, by its id
        self._holders: dict[Holder, None] = {}  # all that hold anything
        # What each share holds, and by how many holders, at the last survey
        self._shares: dict[Share, tuple[int, int]] = {}
        self._surveyed = -inf
        self._average = 0  # of the shares

    @property
    def total(self) -> int:
        """Bytes that all hold together."""
        return self._held + self._shared

    @property
    def expected(self) -> int:
        """Bytes that all hold together, without what is about to be freed."""
        return self._held + self._shared - self._falling

    @property
    def holders(self) -> list[Holder]:
        """All that hold anything. The list is a copy."""
        with self.lock:
            return list(self._holders)

    def charge(self, holder: Holder, amount: int) -> None:
        """Note that a holder holds *amount* bytes more by itself, or fewer."""
        with self.lock:
            holder.held += amount
            self._held += amount
            if holder.condemned:
                self._falling += amount
            if holder.held:
                self._holders[holder] = None
            else:
                self._holders.pop(holder, None)

    def share(self, holder: Holder, buffer: memoryview) -> None:
        """Note that a holder holds a buffer that others may hold, too: a view of all of it."""
        size = len(buffer)
        with self.lock:
            holders = self._buffers.get(id(buffer.obj), 0)
            self._buffers[id(buffer.obj)] = holders + 1
            if not holders:  # defence: shared-once
                self._shared += size + BUFFER_BYTES
            self._sharings += size
            holder.shared += size
            self.charge(holder, SLOT_BYTES)

    def unshare(self, holder: Holder, buffer: memoryview) -> None:
        """Note that a holder no longer holds a buffer. It does so before it lets go of it."""
        size = len(buffer)
        with self.lock:
            self._buffers[id(buffer.obj)] -= 1
            if not self._buffers[id(buffer.obj)]:
                del self._buffers[id(buffer.obj)]
                self._shared -= size + BUFFER_BYTES
            self._sharings -= size
            holder.shared -= size
            self.charge(holder, -SLOT_BYTES)

    def condemn(self, holder: Holder) -> None:
        """Note that what a holder holds is about to be freed."""
        with self.lock:
            if not holder.condemned:
                holder.condemned = True
                self._falling += holder.held

    def weight(self, holder: Holder) -> int:
        """Return the bytes that a holder holds, with its part of what is shared."""
        with self.lock:
            shared = holder.shared * self._shared // self._sharings if holder.shared else 0
            return holder.held + shared

    def allowance(self, share: Share) -> float:
        """Return what each holder of a share may hold when there is little left for others.

        It is the average of the share's holders, if all of them hold more than those of the average
        share. Otherwise it is infinite: a share that holds little isn't limited.
        """
        with self.lock:
            if time.monotonic() >= self._surveyed + SURVEY_SECONDS:
                self._survey()
            held, holders = self._shares.get(share, (0, 0))
            return held // holders if holders and held >= self._average else inf

    def _survey(self) -> None:
        """Find out what each share holds."""
        for share in self._shares:
            share.held = 0
        self._shares.clear()
        for holder in self._holders:
            if not holder.condemned:
                held, holders = self._shares.get(holder.share, (0, 0))
                self._shares[holder.share] = held + self.weight(holder), holders + 1
        for share, (held, _) in self._shares.items():
            share.held = held
        total = sum([held for held, _ in self._shares.values()])
        self._average = total // max(1, len(self._shares))
        self._surveyed = time.monotonic()

    def largest(self, spare: int) -> list[Holder]:
        """If more than the limit is expected, condemn the holders that hold most. Return them.

        Then *spare* bytes are free. Those come first that make no progress, then those
        whose share holds most. A holder within its `allowance` isn't among them.
        """
        with self.lock:
            if self.expected <= self.limit:
                return []
            needed = self.expected + spare - self.limit
            self._survey()
            stalled = time.monotonic() - STALL_SECONDS
            found = [
                (holder.moved() > stalled, -holder.share.held, -self.weight(holder), number, holder)
                for number, holder in enumerate(self._holders)
                if not holder.condemned and self.weight(holder) >= self.allowance(holder.share)
            ]
            chosen = []
            for _, _, weight, _, holder in sorted(found):
                if needed <= 0:
                    break
                needed += weight
                self.condemn(holder)
                chosen.append(holder)
            return chosen

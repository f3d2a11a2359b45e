"""What is done when connections hold too much memory together.

Envoy's overload manager is the model: thresholds, an action at each, counts, and a log line.

    over 3/4 of the limit   addresses that hold more than the average get no new connections;
                            of their connections, those that hold most are read only in turns,
                            and for some seconds
    over the limit          of these, the first to be cut are those that make no progress

Over 3/4 of the limit, free memory is returned to the system at once, as far as the C library can.

So a crowd is held against itself, and whoever holds little notices nothing.
"""

from __future__ import annotations

import time
from math import inf
from typing import Callable

from .budget import Budget, Holder
from .limits import Limits
from .loop import Loop, Source
from .malloc import return_freed_memory
from .shares import Share

SMALL_BYTES = 1 << 16
"""A connection that holds less than this is always read."""
PAUSE_SECONDS = 10.0
"""A connection that was paused, and holds as much as ever after this time, is cut."""
TURN_SECONDS = 0.25
"""A paused connection that is read in its turn, but sends nothing for so long, loses its turn."""
TICK_SECONDS = 0.05
"""Time between two looks at the connections that hold most, while there are any."""
TRIM_SECONDS = 0.1
"""Time between two attempts to return free memory."""
SPARE_PART = 16
"""Over the limit, so much is cut that this part of the limit is free: one sixteenth."""


class Overload(Source):
    """Keeps connections within `max_memory` together.

    Args:
        limits: `max_memory` and `max_message_size`.
        warn: Called with a message and its arguments at each threshold.
    """

    __slots__ = (
        "_condemned _loop _mark _need _paused _trimmed _turns _warn _watching budget cuts pauses "
        "refusals"
    ).split()

    def __init__(self, limits: Limits, warn: Callable[..., None]) -> None:
        super().__init__()
        self.budget: Budget = Budget(limits.max_memory)
        """What the connections hold."""
        self.refusals: int = 0
        """Connections that were refused."""
        self.pauses: int = 0
        """Times that a connection was paused."""
        self.cuts: int = 0
        """Connections that were cut."""
        self._loop: Loop  # its leader takes care of paused connections
        self._mark = limits.max_memory * 3 // 4
        self._need = 2 * limits.max_message_size  # to complete a message that was begun
        self._warn = warn
        self._watching = False  # whether `on_deadline` is due
        self._trimmed = -inf  # when free memory was returned
        # Of which the leader has to free something. An empty deque would take 600 bytes.
        self._condemned: list[Holder] = []
        # The leader's. Those that are paused: when that was, or they became lighter, and how heavy
        # they were then. Those of them that are read all the same, as it is their turn: since when
        self._paused: dict[Holder, tuple[float, int]] = {}
        self._turns: dict[Holder, float] = {}

    def run(self, loop: Loop) -> None:
        """Have the leader of this loop do what only a leader may do."""
        self._loop = loop

    @property
    def pressed(self) -> bool:
        """Whether over 3/4 of the limit are held."""
        return self.budget.expected > self._mark

    # Any thread

    def refuse(self, share: Share) -> bool:
        """Say whether to refuse one more connection of a share."""
        if not self.pressed or self.budget.allowance(share) == inf:  # defence: memory-refusal
            return False
        self.refusals += 1
        self._warn("3/4 of max_memory=%d are held: refusing %s", self.budget.limit, share.address)
        return True

    def relieve(self) -> None:
        """If the limit is exceeded, cut the connections that hold most."""
        if not self.pressed:
            return
        self._watch()
        if self.budget.expected > self.budget.limit:  # defence: memory-bound
            for holder in self.budget.largest(self.budget.limit // SPARE_PART):
                self._cut(holder, "too much memory")

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            self._loop.schedule(self, 0)

    def _cut(self, holder: Holder, what: str) -> None:
        reason = f"held {what}: {self.budget.weight(holder)} bytes"
        self.cuts += 1
        self._warn("max_memory=%d is held: cutting %r, which %s", self.budget.limit, holder, reason)
        holder.shed(reason)
        self._condemned.append(holder)
        self._loop.schedule(self, 0)

    # The leader

    def make_room(self) -> None:
        """Do as `relieve`, and free at once what only the leader may free."""
        self.relieve()
        while self._condemned:
            self._condemned.pop().free()
        if self.pressed:
            self._trim()

    def _trim(self) -> None:
        now = time.monotonic()
        if now >= self._trimmed + TRIM_SECONDS:
            self._trimmed = now
            return_freed_memory()  # defence: memory-trim

    def is_paused(self, holder: Holder) -> bool:
        """Say whether a holder isn't to be read now. Then it is paused until it may be read."""
        if not self.pressed or holder.condemned or holder in self._turns:
            return False
        if self._holds_little(holder):
            return False
        self._pause(holder, time.monotonic())
        self._watch()
        return True

    def _holds_little(self, holder: Holder) -> bool:
        allowance = self.budget.allowance(holder.share)
        return self.budget.weight(holder) < max(SMALL_BYTES, allowance)  # defence: memory-pause

    def _pause(self, holder: Holder, now: float) -> None:
        holder.pause(True)
        if holder not in self._paused:
            self._paused[holder] = now, self.budget.weight(holder)
            self.pauses += 1
            self._warn("3/4 of max_memory=%d are held: pausing %r", self.budget.limit, holder)

    def on_deadline(self, now: float) -> None:
        """Free what is condemned, pause those that hold most, and see how these go on."""
        self._watching = False  # first, or a thread that exceeds the mark meanwhile isn't noticed
        self.make_room()
        for holder in self.budget.holders if self.pressed else ():
            if not (holder in self._paused or holder.condemned or self._holds_little(holder)):
                self._pause(holder, now)
        for holder in list(self._paused):
            self._check(holder, now)
        self._give_turns(now)
        self.make_room()
        if self.pressed or self._paused:
            self._watching = True
            self._loop.schedule(self, now + TICK_SECONDS)

    def _check(self, holder: Holder, now: float) -> None:
        """See how a paused holder goes on."""
        since, before = self._paused[holder]
        weight = self.budget.weight(holder)
        if holder.condemned or not self.pressed or self._holds_little(holder):
            holder.pause(False)  # first, as it may fail
            self._leave(holder)
        elif weight <= before - SMALL_BYTES:
            self._paused[holder] = now, weight
        elif now >= since + PAUSE_SECONDS:  # defence: memory-pause-timeout
            self._leave(holder)
            self.budget.condemn(holder)
            self._cut(holder, "much memory for too long")
        elif now >= max(self._turns.get(holder, now), holder.moved()) + TURN_SECONDS:
            self._leave(holder)
            self._paused[holder] = since, before  # behind the others
            holder.pause(True)

    def _leave(self, holder: Holder) -> None:
        del self._paused[holder]
        self._turns.pop(holder, None)

    def _give_turns(self, now: float) -> None:
        """Read on from as many as have room to complete what they have begun, but from one."""
        room = self.budget.limit - self.budget.expected - self._need * len(self._turns)
        waiting = [holder for holder in self._paused if holder not in self._turns]
        for holder in sorted(waiting, key=lambda holder: holder.share.held):
            if self._turns and room < self._need:
                break
            room -= self._need
            self._turns[holder] = now
            holder.pause(False)

    def on_fault(self) -> None:
        self._loop.schedule(self, time.monotonic() + TICK_SECONDS)

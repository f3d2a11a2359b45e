"""The monitor checks whether the leader is stuck, and whether the interpreter is crowded.

It is a thread that wakes up every few milliseconds while callbacks run, and runs none itself. So it
notices two things that no other thread can:

- A leader that stays in a callback is stuck. If the callback blocks, another thread has to lead.
  If it computes, another thread that leads would have to wait for the interpreter (the GIL) at
  each step, and nobody would gain: so it keeps the lead for a while.
- When the monitor has slept, it needs the interpreter again. If it has to wait for it, some thread
  computes, and the interpreter is *crowded*.
"""

from __future__ import annotations

import threading
import time
from typing import Callable

from .clocks import ThreadTimes
from .daemon import DaemonThread
from .log import logger
from .loop import Loop
from .workers import LONG_SECONDS, SEEN_SECONDS, Workers

MONITOR_SECONDS = 0.005
"""Time between two checks of the monitor."""
IDLE_CHECKS = 20
"""After this many checks of an idle leader, the monitor sleeps until the next callback."""
BLOCKING_SOURCES = 5
"""If fewer sources were served than this between two checks in the same round, the monitor assumes
that a callback takes long."""
FREE_CHECKS = 2
"""After this many checks in a row at which the interpreter wasn't crowded, a callback that computes
doesn't hold it, as when it compresses or hashes much."""
CROWDED_SECONDS = 0.0025
"""The interpreter is crowded if the monitor has to wait for it this long. A thread that computes
keeps it for twice that (`sys.getswitchinterval`)."""


class Monitor:
    """A thread that watches the leader of a loop.

    Args:
        loop: The loop.
        workers: Are told whether the interpreter is crowded.
        hand_over: Called when the leader is stuck. Its arguments are whether the leader's callback
            computes, and for how many seconds.
    """

    def __init__(
        self, loop: Loop, workers: Workers, hand_over: Callable[[bool, float], None]
    ) -> None:
        self._loop, self._workers, self._hand_over = loop, workers, hand_over
        self.leader: ThreadTimes | None = None
        """The leader's times, set by each leader."""
        self.served: int = 0
        """How many sources with callbacks the leader has served."""
        self.asleep: bool = False
        """Whether the monitor sleeps until `wake`."""
        self.turn_is_long: bool = False
        """Whether others have waited long enough for the source that is served now."""
        self.broadcasting: bool = False
        """Whether a callback in this round has sent to many clients."""
        self._times: ThreadTimes | None = None  # its own
        self._stopped = False
        self._alarm = threading.Event()

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: The system can't start a thread.
        """
        DaemonThread(self._run, "ws-monitor").start()

    def stop(self) -> None:
        """Have the thread end. Takes no lock."""
        self._stopped = True
        self._alarm.set()

    def orphan(self) -> None:
        """Let go of all, because this is a forked child, without the thread."""
        self._stopped = True
        self._alarm = threading.Event()  # another thread may have held its lock
        for times in (self.leader, self._times):
            if times:
                times.close()

    def wake(self) -> None:
        """Have the monitor watch, because a callback is about to run."""
        self._alarm.set()

    def _run(self) -> None:
        times = self._times = ThreadTimes()
        while not self._stopped:
            try:
                self._watch(times)
            except Exception:
                logger.exception("error in the monitor, which continues")
                time.sleep(MONITOR_SECONDS)
        times.close()

    def _watch(self, times: ThreadTimes) -> None:
        loop, workers = self._loop, self._workers
        rounds = served = idle_checks = free_checks = 0
        since = checked = 0.0  # the first check in this round, and the last one
        leader, leader_times = self.leader, (0.0, 0.0)
        while not self._stopped:
            if idle_checks >= IDLE_CHECKS:
                self.asleep = True
                # Whoever has something for it to do, does that first, and then looks at `asleep`
                if served == self.served and not workers.unsettled:
                    self._alarm.wait()
                self._alarm.clear()
                self.asleep = False
            crowded = self._sleep(SEEN_SECONDS if workers.waiting else MONITOR_SECONDS, times)
            workers.check(crowded)
            now = time.monotonic()
            if now < checked + MONITOR_SECONDS:
                continue
            lasting = rounds == loop.rounds and not loop.polling
            since = since if lasting else now
            free_checks = free_checks + 1 if lasting and not crowded else 0
            stuck = lasting and self.served - served < BLOCKING_SOURCES
            before, leader_times = leader_times, self.leader.read() if self.leader else (0.0, 0.0)
            computed, delayed = (a - b for a, b in zip(leader_times, before))
            if stuck and leader is self.leader:
                computes = computed + delayed > (now - checked) / 2
                if delayed <= computed and free_checks >= FREE_CHECKS:
                    computes = False  # without the interpreter, so that another thread can lead
                held = self.broadcasting or computes
                if not held or now - since >= LONG_SECONDS:  # defence: broadcast-lead
                    self._hand_over(computes, now - since)  # defence: new-leader
            self.turn_is_long = lasting
            busy = lasting or served != self.served or workers.unsettled
            idle_checks = 0 if busy else idle_checks + 1
            rounds, served, checked, leader = loop.rounds, self.served, now, self.leader

    def _sleep(self, seconds: float, times: ThreadTimes) -> bool:
        """Sleep. Return whether the interpreter was crowded at the end."""
        started, delayed = time.monotonic(), times.read()[1]
        time.sleep(seconds)
        late = time.monotonic() - started - seconds
        return late > CROWDED_SECONDS and late - (times.read()[1] - delayed) > CROWDED_SECONDS

"""For how long threads compute, and for how long they wait for a core of the machine."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress


def thread_clock(ident: int) -> int | None:
    """Return the clock of a thread's CPU time, or None if the system has none. It must be alive."""
    get_clock = getattr(time, "pthread_getcpuclockid", None)
    return get_clock(ident) if get_clock else None


def computing_time(clock: int | None) -> float:
    """Return the seconds of CPU time that a thread has used, or 0 if that can't be known."""
    with suppress(OSError):  # it has ended
        return time.clock_gettime(clock) if clock is not None else 0.0
    return 0.0


class ThreadTimes:
    """The times of the thread that makes it. Any thread may read them while that thread lives."""

    def __init__(self) -> None:
        self._clock = thread_clock(threading.get_ident())
        try:  # Linux; another descriptor of the same file would mean the thread that reads
            self._schedstat = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        except OSError:
            self._schedstat = -1

    def read(self) -> tuple[float, float]:
        """Return the seconds for which it has computed, and waited for a core of the machine.

        What the system doesn't tell is 0.
        """
        delayed = 0
        if self._schedstat >= 0:
            with suppress(OSError, ValueError, IndexError):
                delayed = int(os.pread(self._schedstat, 100, 0).split()[1])
        return computing_time(self._clock), delayed / 1e9

    def close(self) -> None:
        """Release the descriptor."""
        if self._schedstat >= 0:
            os.close(self._schedstat)
            self._schedstat = -1

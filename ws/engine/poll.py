"""The system's ways to wait for many descriptors."""

from __future__ import annotations

import select
import selectors
from contextlib import suppress
from typing import Any

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
BATCH = 1024
"""One wait returns at most this many ready sources. The next ones return the others first."""


class Poller:
    """Waits by the best method that `selectors` has for this system."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.live: bool = type(self._selector).__name__ == "KqueueSelector"
        """Whether a change counts at once for another thread that is waiting."""

    def change(self, source: Any, old: int, new: int) -> None:
        """Watch *source* for *new* instead of *old*: READ, WRITE, both or 0."""
        if not old:
            self._selector.register(source, new, source)
        elif new:
            self._selector.modify(source, new, source)
        else:
            self._selector.unregister(source)

    def wait(self, timeout: float) -> list[tuple[Any, int]]:
        """Wait up to *timeout* seconds. Return the sources that are ready, and what for."""
        return [(key.data, mask) for key, mask in self._selector.select(timeout)]

    def close(self) -> None:
        self._selector.close()


class EpollPoller(Poller):
    """Calls epoll directly, not by `selectors`: an echo takes a twentieth less time."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._sources: dict[int, Any] = {}
        self.live = True

    def change(self, source: Any, old: int, new: int) -> None:
        descriptor = source.fileno()
        events = (select.EPOLLIN if new & READ else 0) | (select.EPOLLOUT if new & WRITE else 0)
        if not old:
            self._epoll.register(descriptor, events)  # may raise
            self._sources[descriptor] = source
        elif new:
            self._epoll.modify(descriptor, events)
        else:
            self._sources.pop(descriptor, None)
            with suppress(OSError):  # its owner has closed it: the system has removed it
                self._epoll.unregister(descriptor)

    def wait(self, timeout: float) -> list[tuple[Any, int]]:
        ready = []
        for descriptor, event in self._epoll.poll(timeout, BATCH):
            source = self._sources.get(descriptor)
            if source is not None:  # it may have been unregistered meanwhile
                ready.append((source, READ if event == select.EPOLLIN else _mask(event)))
        return ready

    def close(self) -> None:
        self._epoll.close()


def _mask(event: int) -> int:
    """Translate epoll's flags into READ and WRITE. An error without input counts as both."""
    read = READ if event & ~select.EPOLLOUT else 0
    return read if event & select.EPOLLIN and not event & select.EPOLLOUT else read | WRITE

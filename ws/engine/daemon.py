"""Threads that don't keep the interpreter alive."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Callable


class DaemonThread(threading.Thread):
    """A daemon thread. Threads that its callbacks start are not daemons.

    The interpreter ends daemon threads without notice, and a thread inherits that property from
    the thread that starts it. A callback's threads must not inherit it from ours.
    """

    def __init__(self, target: Callable[[], None], name: str) -> None:
        super().__init__(target=target, name=name, daemon=True)
        self._running = False

    def run(self) -> None:
        self._running = True
        super().run()

    if not TYPE_CHECKING:  # the attribute of threading.Thread can be written, this one can't

        @property
        def daemon(self) -> bool:
            """False where the thread itself asks, for the threads that it starts; else True."""
            return not (self._running and self.ident == threading.get_ident())

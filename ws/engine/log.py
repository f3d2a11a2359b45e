"""The library's logger, and warnings that peers can cause."""

from __future__ import annotations

import logging
import time
from typing import Any

WARNING_INTERVAL_SECONDS = 10.0
"""The same warning is logged at most once in this time."""

logger: logging.Logger = logging.getLogger("ws")
logger.addHandler(logging.NullHandler())


class Warnings:
    """Logs warnings that peers can cause, each message at most once in ten seconds.

    Any thread may call `warn`.
    """

    def __init__(self) -> None:
        self._next: dict[str, float] = {}  # by message, when it may be logged again

    def warn(self, message: str, *args: Any) -> None:
        """Log *message* % *args*, unless the same message was logged a short time ago."""
        now = time.monotonic()
        if now >= self._next.get(message, 0):  # defence: log-rate
            self._next[message] = now + WARNING_INTERVAL_SECONDS
            logger.warning(message, *args)

"""Waiting for what should happen, with a deadline."""

from __future__ import annotations

import time
from typing import Callable, TypeVar

Value = TypeVar("Value")

DEADLINE = 20.0
"""Seconds until what is awaited counts as missing; long, for machines whose cores are all busy."""
LATE = 5.0
"""Seconds by which a timed event, such as a time-out, may be late on such a machine."""
POLL_SECONDS = 0.002


def eventually(
    condition: Callable[[], Value], seconds: float = DEADLINE, what: str = "the condition"
) -> Value:
    """Wait until a condition is true, and return what it returned.

    Args:
        condition: Asked again and again.
        seconds: How long to wait.
        what: Named by the failure.

    Raises:
        AssertionError: It wasn't true in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(POLL_SECONDS)

"""The system's limit on a process's descriptors, and how many of them connections may have."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

try:
    import resource
except ImportError:  # on Windows, a process has no such limit
    resource = None  # type: ignore[assignment]

RESERVED = 256
"""Descriptors that connections leave to the application; but at most an eighth of the limit."""


def lowest_free() -> int:
    """Return the lowest free descriptor, or 0 if the system has no limit on them.

    The system gives out this one next. So its number tells how many are in use, whoever has opened
    them.

    Raises:
        OSError: No descriptor is free.
    """
    if resource is None:
        return 0
    probe = os.open(os.devnull, os.O_RDONLY)
    os.close(probe)
    return probe


def provide(number: int) -> tuple[int, int]:
    """Have the system allow *number* descriptors more than are in use, or as many as it lets us.

    For that, the soft limit of the process is raised, up to the hard limit. It stays raised, for
    the whole program, and programs that it starts inherit it.

    Returns:
        The lowest free descriptor, and the first one that is reserved for the application.
        Connections may have those between.

    Raises:
        OSError: No descriptor is free.
    """
    free = lowest_free()
    if resource is None:
        return free, sys.maxsize
    wanted = free + number
    wanted += min(RESERVED, wanted // 7 + 1)  # an eighth of the sum
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return free, sys.maxsize
    if soft < wanted:
        goal = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):  # macOS has a lower limit than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (goal, hard))
            soft = goal
    return free, soft - min(RESERVED, soft // 8)

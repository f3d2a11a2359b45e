"""How much memory this process may use: the machine's, or its container's."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Iterator

if sys.platform == "win32":
    import ctypes

    class _Status(ctypes.Structure):
        """MEMORYSTATUSEX of the Windows API."""

        _fields_ = [
            *((name, ctypes.c_uint32) for name in ("length", "load")),
            *((name, ctypes.c_uint64) for name in "total free pages other virtual left x".split()),
        ]


UNKNOWN_BYTES = 1 << 30
"""What is assumed where the system doesn't tell how much memory it has."""
CGROUPS = "/sys/fs/cgroup"
OURS = "/proc/self/cgroup"
LIMITS = ("memory.max", "memory.high", "memory.limit_in_bytes")
"""The files with a control group's limit, in bytes: two of version 2, one of version 1."""


def memory_bytes() -> int:
    """Return the bytes of memory of the machine, or of the container, if that has less."""
    return min([_physical(), *_limits()])


def _physical() -> int:
    if sys.platform == "win32":
        status = _Status(ctypes.sizeof(_Status))
        if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
            return int(status.total)
    with suppress(AttributeError, OSError, ValueError):
        pages = os.sysconf("SC_PHYS_PAGES")
        if pages > 0:
            return pages * os.sysconf("SC_PAGE_SIZE")
    return UNKNOWN_BYTES


def _limits() -> Iterator[int]:
    """Yield the limits of the control groups that the process is in, and of those around them."""
    for folder in _groups():
        for name in LIMITS:
            with suppress(OSError, ValueError), open(f"{folder}/{name}") as file:  # or it's "max"
                yield int(file.read())


def _groups() -> Iterator[str]:
    """Yield the folders of the process's control groups, the inner ones first (cgroups(7))."""
    try:
        with open(OURS) as file:
            lines = file.read().splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = f"{CGROUPS}/memory" if controllers else CGROUPS
        parts = path.strip("/").split("/")
        for depth in range(len(parts), -1, -1):
            yield "/".join([root, *parts[:depth]])

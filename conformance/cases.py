"""The cases of the Autobahn suite, and the results that pass."""

from __future__ import annotations

SECTIONS = {
    1: "Framing",
    2: "Pings and pongs",
    3: "Reserved bits",
    4: "Opcodes",
    5: "Fragmentation",
    6: "UTF-8",
    7: "Closing",
    9: "Limits and performance",
    10: "Auto-fragmentation",
    12: "Compression, by payload",
    13: "Compression, by parameters",
}
_LAST = (
    "1.1.8 1.2.8 2.11 3.7 4.1.5 4.2.5 5.20 6.1.3 6.2.4 6.3.2 6.4.4 6.5.5 6.6.11 6.7.4 6.8.2 6.9.4"
    " 6.10.3 6.11.5 6.12.8 6.13.5 6.14.10 6.15.1 6.16.3 6.17.5 6.18.5 6.19.5 6.20.7 6.21.8 6.22.34"
    " 6.23.7 7.1.6 7.3.6 7.5.1 7.7.13 7.9.9 7.13.2 9.1.6 9.2.6 9.3.9 9.4.9 9.5.6 9.6.6 9.7.6 9.8.6"
    " 10.1.1 12.1.18 12.2.18 12.3.18 12.4.18 12.5.18 13.1.18 13.2.18 13.3.18 13.4.18 13.5.18"
    " 13.6.18 13.7.18"
)
"""The last case of each group, which has all from 1 up to it."""


def _count_up(last: str) -> list[str]:
    group, _, count = last.rpartition(".")
    return [f"{group}.{number}" for number in range(1, int(count) + 1)]


CASES = [case for last in _LAST.split() for case in _count_up(last)]
"""The ids of all 517, in order."""
INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}
"""The suite doesn't judge these cases; all others must be OK."""

_SIZES = "64 KiB, 256 KiB, 1 MiB, 4 MiB, 8 MiB, 16 MiB"
_FRAGMENTS = "64 B, 256 B, 1 KiB, 4 KiB, 16 KiB, 64 KiB, 256 KiB, 1 MiB, 4 MiB"
_PIECES = "64 B, 128 B, 256 B, 512 B, 1 KiB, 2 KiB"
_ROUNDS = "0 B, 16 B, 64 B, 256 B, 1 KiB, 4 KiB"
PERFORMANCE = {
    "9.1": ("A text message of", _SIZES),
    "9.2": ("A binary message of", _SIZES),
    "9.3": ("A text message of 4 MiB in fragments of", _FRAGMENTS),
    "9.4": ("A binary message of 4 MiB in fragments of", _FRAGMENTS),
    "9.5": ("A text message of 1 MiB, written in pieces of", _PIECES),
    "9.6": ("A binary message of 1 MiB, written in pieces of", _PIECES),
    "9.7": ("1000 round trips of text messages of", _ROUNDS),
    "9.8": ("1000 round trips of binary messages of", _ROUNDS),
}
"""The title of each group of section 9, and the sizes in its cases."""


def section(case: str) -> int:
    """Return the section of a case."""
    return int(case.partition(".")[0])


def select(*prefixes: str, but: str = "") -> list[str]:
    """Return the cases at or below one of the prefixes, without those at or below ``but``."""

    def below(case: str, prefix: str) -> bool:
        return f"{case}.".startswith(f"{prefix}.")

    return [
        case
        for case in CASES
        if any(below(case, prefix) for prefix in prefixes)
        and not any(below(case, prefix) for prefix in but.split())
    ]


def passes(case: str, behavior: str, closing: str) -> bool:
    """Say whether this is exactly the result that a case must have."""
    if case in INFORMATIONAL:
        return behavior == "INFORMATIONAL" and closing in ("OK", "INFORMATIONAL")
    return behavior == closing == "OK"

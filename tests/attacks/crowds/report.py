"""The figures of crowds as a table, and whether they are within their bounds."""

from __future__ import annotations

import os
import platform
import re
import time
from pathlib import Path

from tests.attacks.crowds.table import BY_NAME
from tests.support import ROOT

PAGE = ROOT / "docs" / "threats.md"
TABLE = re.compile(r"(<!-- crowds: [^>]*-->\n).*?(<!-- end of crowds -->)", re.DOTALL)
"""Where the table is in the page."""
HEADINGS = (
    "Attack",
    "Connections",
    "Sent",
    "p50",
    "p99",
    "max",
    "p99, same address",
    "Server CPU",
    "Memory",
    "To hold",
)
SLACK = 3.0
"""Times the bound on CPU time that a test allows: machines differ, and may be busy."""
BUSY_MS = 1000.0
"""What others may wait in a test for other reasons than the server's work: on a busy machine, it
gets no CPU time for a while. Without its defences, it would be several seconds."""


def excess(figures):
    """Return what is beyond the bounds, as a test judges it on any machine: by CPU time."""
    bounds = BY_NAME[figures.crowd].bounds
    allowed = [
        ("ms of CPU while an honest client waited, p99", figures.worked_p99, bounds.p99, SLACK, 0),
        ("ms of CPU while an honest client waited, max", figures.worked_max, bounds.max, SLACK, 0),
        ("ms that an honest client waited, p99", figures.p99, bounds.p99, 1, BUSY_MS),
        ("s of CPU", figures.cpu, bounds.cpu, SLACK, 0),
        ("MiB", figures.memory, bounds.memory, 1, 0),
    ]
    return figures.faults + [
        f"{used:,.1f} {what}, over {bound * factor + more:,.1f}"
        for what, used, bound, factor, more in allowed
        if bound is not None and used > bound * factor + more
    ]


def milliseconds(value):
    """Return a time for people."""
    if value >= 1000:
        return f"{value / 1000:.1f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def size(count):
    """Return a number of bytes for people."""
    for limit, unit in ((1e6, "MB"), (1e3, "kB")):
        if count >= limit:
            return f"{count / limit:,.{0 if count >= 10 * limit else 1}f} {unit}"
    return f"{count} B" if count else ""


def row(figures, mark):
    """Return the cells of a crowd's row; *mark* makes the text of a figure beyond its bound."""
    crowd = BY_NAME[figures.crowd]
    bounds = crowd.bounds

    def cell(text, used=0.0, bound=None):
        return mark(text) if bound is not None and used > bound else text

    asked = (
        ("p99", bounds.p99, "ms"),
        ("max", bounds.max, "ms"),
        ("CPU", bounds.cpu, "s"),
        ("memory", bounds.memory, "MiB"),
    )
    lost = f"; {figures.lost:,} lost" if figures.lost else ""
    return (
        mark(crowd.title) if figures.faults else crowd.title,
        f"{crowd.connections:,}{lost}" if crowd.connections else "",
        size(figures.sent),
        milliseconds(figures.p50),
        cell(milliseconds(figures.p99), figures.p99, bounds.p99),
        cell(milliseconds(figures.max), figures.max, bounds.max),
        milliseconds(figures.neighbour_p99),
        cell(f"{figures.cpu:.1f} of {figures.seconds:.1f} s", figures.cpu, bounds.cpu),
        cell(f"{figures.memory:+.0f} MiB", figures.memory, bounds.memory),
        ", ".join(f"{what} ≤ {most:g} {unit}" for what, most, unit in asked if most is not None),
    )


def lines(found):
    """Return the table for a terminal: a list of lines."""
    rows = [HEADINGS, *(row(figures, "{}!".format) for figures in found)]
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(HEADINGS))]
    numbers = range(1, len(HEADINGS) - 1)
    text = [
        "  ".join(
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths))
        ).rstrip()
        for cells in rows
    ]
    late = max(figures.late for figures in found)
    text += ["", f"! is beyond the bound. Timers were late by up to {late:.1f} ms (p99)."]
    return text + [
        f"! {figures.crowd}: {', '.join(figures.faults)}" for figures in found if figures.faults
    ]


def markdown(found):
    """Return the table as Markdown, and a line about the machine."""
    align = [
        "---:" if 0 < column < len(HEADINGS) - 1 else ":---" for column in range(len(HEADINGS))
    ]
    rows = [HEADINGS, align, *(row(figures, "**{}**".format) for figures in found)]
    late = max(figures.late for figures in found)
    about = (
        f"Measured on {time.strftime('%Y-%m-%d')}, on two of {os.cpu_count()} cores of "
        f"{processor()}, with Python {platform.python_version()}. In 99 of 100 cases, the honest "
        f"clients' own timers were at most {late:.1f} ms late. Bold is beyond the bound."
    )
    return "\n".join([*(f"| {' | '.join(cells)} |" for cells in rows), "", about, ""])


def processor():
    """Return the name of the processor."""
    with Path("/proc/cpuinfo").open() as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()


def write(found):
    """Put the table into docs/threats.md, in place of the last one."""
    page = PAGE.read_text(encoding="utf-8")
    written, count = TABLE.subn(lambda at: at[1] + "\n" + markdown(found) + "\n" + at[2], page)
    assert count == 1, f"{PAGE} has no place for the table"
    PAGE.write_text(written, encoding="utf-8")

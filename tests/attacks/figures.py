"""What attacks have cost: figures, whether they are within their bounds, and a table of them."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.attacks.honest_clients import Seen

SLACK = 3.0
"""By how many times a bound on CPU time may be exceeded: machines differ, and may be busy."""
BUSY_MS = 1000.0
"""How long others may wait besides, in 99 of 100 cases: on a busy machine, the server may get no
CPU time for a while. Without its defence, a server would make them wait for longer."""
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
    "Bounds",
)


@dataclass
class Bounds:
    """What an attack may cost others; None where there is no bound.

    Args:
        p99: Milliseconds that an honest client waits for an answer; 99 of 100 come sooner.
        max: The same, for the last answer.
        cpu: Seconds of CPU time that the server uses, in all.
        memory: MiB by which the server grows.
    """

    p99: float | None = None
    max: float | None = None
    cpu: float | None = None
    memory: float | None = None

    def __str__(self):
        each = (
            ("p99", self.p99, milliseconds),
            ("max", self.max, milliseconds),
            ("CPU", self.cpu, "{:g} s".format),
            ("memory", self.memory, "{:g} MiB".format),
        )
        return ", ".join(f"{name} ≤ {text(most)}" for name, most, text in each if most is not None)


@dataclass
class Figures:
    """What an attack has cost.

    Args:
        title: What it is.
        connections: How many the attackers had at a time, or in all if they came and went.
        sent: Bytes.
        others: What honest clients saw.
        neighbours: What those saw who had the attackers' address; None if there were none.
        cpu: Seconds of CPU time that the server used.
        seconds: How long that took.
        memory: MiB by which the server had grown at its peak.
        bounds: What it might cost.
        lost: Connections of the attackers that were refused, cut or closed.
        complaints: Of the server, in its log.
    """

    title: str
    connections: int
    sent: int
    others: Seen
    neighbours: Seen | None
    cpu: float
    seconds: float
    memory: float
    bounds: Bounds
    lost: int = 0
    complaints: list[str] = field(default_factory=list)

    @property
    def faults(self):
        """What must not happen, whatever it costs: lost messages, and errors."""
        lost = [f"{self.others.lost} messages lost"] if self.others.lost else []
        return [*self.others.errors[:3], *lost, *self.complaints]

    def excess(self):
        """Return what is wrong, or beyond the bounds, in words that hold on a busy machine, too.

        There, the time that others wait tells little; what tells more is the CPU time that the
        server used meanwhile.
        """
        others, bounds = self.others, self.bounds
        allowed = [
            ("ms of CPU while others waited, p99", others.worked_p99, bounds.p99, SLACK, 0),
            ("ms of CPU while others waited, max", others.worked_max, bounds.max, SLACK, 0),
            ("ms that others waited, p99", others.p99, bounds.p99, 1, BUSY_MS),
            ("s of CPU", self.cpu, bounds.cpu, SLACK, 0),
            ("MiB", self.memory, bounds.memory, 1, 0),
        ]
        return self.faults + [
            f"{used:,.1f} {what}, over {bound * factor + more:,.1f}"
            for what, used, bound, factor, more in allowed
            if bound is not None and used > bound * factor + more
        ]

    def pack(self):
        """Return the same as a dict of what JSON has."""
        return asdict(self)

    @classmethod
    def unpack(cls, packed):
        """Return what `pack` was called on."""
        found = cls(**packed)
        found.others, found.bounds = Seen(**packed["others"]), Bounds(**packed["bounds"])
        found.neighbours = packed["neighbours"] and Seen(**packed["neighbours"])
        return found

    def row(self, mark):
        """Return its cells in the table; *mark* makes the text of what is beyond its bound."""
        others, bounds = self.others, self.bounds

        def cell(text, used, bound):
            return mark(text) if bound is not None and used > bound else text

        lost = f"; {self.lost:,} lost" if self.lost else ""
        return (
            mark(self.title) if self.faults else self.title,
            f"{self.connections:,}{lost}" if self.connections else "",
            size(self.sent) if self.sent else "",
            milliseconds(others.p50),
            cell(milliseconds(others.p99), others.p99, bounds.p99),
            cell(milliseconds(others.max), others.max, bounds.max),
            milliseconds(self.neighbours.p99) if self.neighbours else "",
            cell(f"{self.cpu:.1f} of {self.seconds:.1f} s", self.cpu, bounds.cpu),
            cell(f"{self.memory:+.0f} MiB", self.memory, bounds.memory),
            str(bounds),
        )


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
    return f"{count} B"


def text(found):
    """Return the table for a terminal, as a list of lines."""
    rows = [HEADINGS, *(figures.row("{}!".format) for figures in found)]
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(HEADINGS))]
    lines = []
    for cells in rows:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths)]
        padded[0], padded[-1] = cells[0].ljust(widths[0]), cells[-1]
        lines.append("  ".join(padded))
    lines += ["", f"! is beyond its bound. {noise(found)}"]
    return lines + [f"! {each.title}: {', '.join(each.faults)}" for each in found if each.faults]


def markdown(found):
    """Return the table as Markdown, and a line about the machine."""
    middle = len(HEADINGS) - 2
    rows = [
        HEADINGS,
        (":---", *["---:"] * middle, ":---"),
        *(figures.row("**{}**".format) for figures in found),
    ]
    about = (
        f"{time.strftime('%Y-%m-%d')}, two of {os.cpu_count()} cores of {processor()}, Python "
        f"{platform.python_version()}. What is bold is beyond its bound. {noise(found)}"
    )
    return "\n".join([*(f"| {' | '.join(cells)} |" for cells in rows), "", about])


def noise(found):
    """Return a sentence that tells how busy the machine was with other things."""
    late = max(figures.others.late for figures in found)
    return f"The honest clients' own timers were up to {milliseconds(late)} late (p99)."


def processor():
    """Return the name of the processor."""
    with Path("/proc/cpuinfo").open() as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()

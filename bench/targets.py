"""The aims of docs/performance.md, as ratios to the peers in the same run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.cells import BARE, BY_NAME, CPU, FAST, OURS, OWN, RATE
from bench.peers import PEERS

BEST = "the best peer"
BEST_IN_PYTHON = "the best peer in Python"


@dataclass(frozen=True)
class Measured:
    """How far an aim is reached.

    Args:
        value: The ratio, or our own figure.
        against: The title of the peer or cell that it is compared with.
        by_cpu: The ratio of CPU times per message; a busy machine changes it less.
        bare: The ratio that a loop in Python without any checks reaches.
    """

    value: float
    against: str
    by_cpu: float | None = None
    bare: float | None = None


@dataclass(frozen=True)
class Target:
    """A ratio of two medians that we aim at, or a figure of our own.

    Args:
        about: The title.
        cell: The cell that is looked at.
        aim: The ratio or figure that counts as reached.
        peer: Whom to compare with: a name, BEST, BEST_IN_PYTHON, the name of another cell for our
            own figure there, or None for our figure by itself.
        key: The figure; by default the metric of the cell.
        at_most: Less is better.
        ours: Which of our own.
        unit: What follows the figure.
    """

    about: str
    cell: str
    aim: float
    peer: str | None
    key: str = ""
    at_most: bool = False
    ours: str = OURS
    unit: str = " ×"

    @property
    def asked(self) -> str:
        return f"{'at most' if self.at_most else 'at least'} {self.aim:g}{self.unit}"

    def holds(self, value: float) -> bool:
        """Say whether it is reached, to two digits."""
        value = round(value, 2)
        return value <= self.aim if self.at_most else value >= self.aim

    def measure(self, results: dict[str, Any]) -> Measured | None:
        """Return how far it is reached; None if it wasn't measured."""
        key = self.key or BY_NAME[self.cell].metric.key
        medians = _medians(results, self.cell, key)
        ours = medians.pop(self.ours, None)
        if ours is None:
            return None
        if self.peer is None:
            return Measured(ours, "")
        if self.peer in BY_NAME:
            other = _medians(results, self.peer, key).get(self.ours)
            return Measured(ours / other, BY_NAME[self.peer].title) if other else None
        if self.peer in (BEST, BEST_IN_PYTHON):
            rivals = {
                name: value
                for name, value in medians.items()
                if name not in (*OWN, BARE) and (self.peer == BEST or not PEERS[name].in_node)
            }
            if not rivals:
                return None
            name = (min if self.at_most else max)(rivals, key=lambda name: rivals[name])
        else:
            name = self.peer
        if not medians.get(name):
            return None
        costs = _medians(results, self.cell, CPU.key)
        by_cpu = (
            costs[name] / costs[self.ours] if key == RATE.key and costs.get(self.ours) else None
        )
        bare = medians[BARE] / medians[name] if BARE in medians else None
        return Measured(ours / medians[name], PEERS[name].title, by_cpu, bare)


def _medians(results: dict[str, Any], cell: str, key: str) -> dict[str, float]:
    peers = results["cells"].get(cell, {}).get("peers", {})
    return {name: each[key].median for name, each in peers.items() if key in each}


def _broadcasts(in_flight: int, aim: float) -> tuple[Target, ...]:
    return tuple(
        Target(
            f"Broadcast, {BY_NAME[cell].title}",
            cell,
            aim,
            BEST_IN_PYTHON,
        )
        for clients in (100, 1000)
        for size in (64, 4096)
        for cell in [f"broadcast-{clients}x{in_flight}-{size}"]
    )


TARGETS = (
    Target("One message in flight, 16 clients", "echo-16x1-32", 0.8, "picows"),
    Target("… 256 clients", "echo-256x1-32", 0.8, "picows"),
    Target("… 16 clients", "echo-16x1-32", 6, "websockets-sync"),
    Target("… 256 clients", "echo-256x1-32", 6, "websockets-sync"),
    Target("… 16 clients", "echo-16x1-32", 1, "npm-ws"),
    Target("… 256 clients", "echo-256x1-32", 1, "npm-ws"),
    Target("One client, median latency", "latency-1x1-32", 1.15, "picows", "p50", at_most=True),
    Target("16 × 64 × 32 B", "pipelined-16x64-32", 5, BEST),
    Target("16 × 8 × 1 KiB", "pipelined-16x8-1k", 1.4, BEST),
    Target("64 KiB", "large-4x4-64k", 1, "websockets-sync"),
    Target("64 KiB [fast]", "large-4x4-64k", 1.9, "websockets-sync", ours=FAST),
    Target("64 KiB [fast]", "large-4x4-64k", 0.5, "picows", ours=FAST),
    Target("1 MiB", "large-4x2-1m", 0.45, "websockets-sync"),
    Target("1 MiB [fast]", "large-4x2-1m", 1, "websockets-sync", ours=FAST),
    *_broadcasts(1, 1),
    *_broadcasts(16, 4),
    *(
        Target(
            f"One client never reads: {BY_NAME[plain].title}",
            f"{plain}-deaf",
            0.9,
            plain,
        )
        for plain in ("broadcast-100x1-64", "broadcast-1000x1-64", "broadcast-1000x16-4096")
    ),
    Target("Memory per idle client", "memory-plain", 3, None, at_most=True, unit=" KiB"),
    Target(
        "Threads with 5,000 idle clients", "memory-plain", 8, None, "threads", True, unit=" threads"
    ),
    Target("CPU with 1,000 idle clients", "idle", 0.5, None, at_most=True, unit=" % of a core"),
    Target("Connections per second", "connect-plain", 1, BEST_IN_PYTHON),
    Target("… over TLS", "connect-tls", 1, BEST_IN_PYTHON),
    Target("TLS, 16 × 1 × 32 B", "tls-16x1-32", 1.5, "websockets-sync"),
    Target("TLS, 16 × 64 × 32 B", "tls-16x64-32", 1.5, "websockets-sync"),
    Target("TLS, 64 KiB", "tls-4x4-64k", 1.5, "websockets-sync"),
    Target("Compressed, 16 × 1 × 1 KiB", "compressed-16x1-1k", 1, BEST_IN_PYTHON),
    Target("Compressed, 16 × 8 × 1 KiB", "compressed-16x8-1k", 1, BEST_IN_PYTHON),
    Target("Compressed, 64 KiB", "compressed-4x4-64k", 1, BEST_IN_PYTHON),
    Target("Compressed, 64 KiB [fast]", "compressed-4x4-64k", 1, BEST_IN_PYTHON, ours=FAST),
    Target(
        "CPU per message, 5,000 clients",
        "clients-5000x1-32",
        1.5,
        "clients-16x1-32",
        at_most=True,
    ),
    Target("CPU per message, 16 MiB", "sizes-4x1-16m", 16 * 1.5, "sizes-4x1-1m", at_most=True),
    Target("One at a time, median latency", "client-echo-32", 1, BEST, at_most=True),
    Target("… CPU per message", "client-echo-32", 1, BEST, "cpu_us", at_most=True),
    Target("A stream of 32 B", "client-stream-32", 5, "websockets-sync"),
    *(
        Target(f"{size}{kind}{fast}", f"client-echo-{name}", 1, BEST_IN_PYTHON, ours=ours)
        for name, size, kind in (
            ("64k", "64 KiB", ""),
            ("64k-binary", "64 KiB", ", binary"),
            ("1m", "1 MiB", ""),
            ("1m-binary", "1 MiB", ", binary"),
        )
        for ours, fast in ((OURS, ""), (FAST, " [fast]"))
    ),
    Target("Connections per second", "client-connect", 1, BEST_IN_PYTHON),
    Target("Memory per client", "client-memory-10000", 5, None, at_most=True, unit=" KiB"),
    Target("Threads", "client-memory-10000", 8, None, "threads", True, unit=" threads"),
)

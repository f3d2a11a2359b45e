"""Our server in this checkout (A) beside that of another one (B): ``python -m bench --against B``.

Both run under this checkout's harness, in turns, each round with fresh processes and in the other
order. The table has for each cell the medians, and the ratio A/B of each round: its median, and
from the lowest to the highest. CPU time is per message, and exact. Most kernels only estimate its
user part, by sampling: it varies by a tenth and more. For that, count instructions instead
(``python -m bench.instructions --against B``).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Iterator, Sequence

from tqdm import tqdm

from bench import ROOT
from bench.cells import OURS, Cell
from bench.figures import number
from bench.load import Load, LoadError
from bench.programs import Server, certificate, command
from tests.support.processes import StartError

CELLS = (
    "latency-1x1-32 echo-16x1-32 echo-256x1-32 pipelined-16x64-32 pipelined-16x8-1k"
    " large-4x4-64k large-4x2-1m large-4x4-64k-binary"
    " broadcast-100x1-64 broadcast-100x16-64 broadcast-1000x16-64"
    " tls-16x1-32 tls-16x64-32 tls-4x4-64k"
    " compressed-16x1-1k compressed-16x8-1k compressed-4x4-64k connect-plain connect-tls"
).split()
ROUNDS = 7
RUN_SECONDS = 1.0


@dataclass(frozen=True)
class Figure:
    """Something to compare."""

    title: str
    key: str


FIGURES = (
    Figure("CPU, µs", "cpu_us"),
    Figure("user part", "user_us"),
    Figure("messages/s", "rate"),
)
Figures = dict[str, float]


def compares(cell: Cell) -> bool:
    """Say whether a cell counts the messages or connections of a server."""
    return cell.side == "server" and cell.load in ("echo", "broadcast", "connect")


def prepare(cell: Cell) -> Cell:
    """Return a cell with more and longer rounds, as two versions of one server differ little."""
    return replace(cell, rounds=ROUNDS, seconds=RUN_SECONDS)


def compare(other: Path, cells: Sequence[Cell]) -> Iterator[str]:
    """Measure this checkout and another one; yield the lines of a table in Markdown."""
    yield "| | " + " | ".join(f"{figure.title}: A | B | A/B" for figure in FIGURES) + " |"
    yield "| :--- |" + " ---: |" * 3 * len(FIGURES)
    checkouts = (ROOT, other.resolve())
    with tempfile.TemporaryDirectory() as folder, certificate() as paths, tqdm(
        total=2 * sum(cell.rounds for cell in cells), unit="run", disable=not sys.stderr.isatty()
    ) as bar:
        load = Load(folder)
        for cell in cells:
            rounds: list[list[Figures]] = []
            try:
                for turn in range(cell.rounds):
                    pair = []
                    order = -1 if turn % 2 else 1
                    for checkout in checkouts[::order]:
                        pair.append(_measure(load, cell, paths, checkout))
                        bar.update()
                    rounds.append(pair[::order])
            except (LoadError, StartError, OSError) as error:
                yield f"| {cell.name} | {error} |"
                continue
            yield _row(cell, rounds)


def _measure(load: Load, cell: Cell, paths: tuple[str, str], checkout: Path) -> Figures:
    with Server(command(cell, OURS, paths, checkout)) as server:
        return _figures(cell, load.run(cell, server))


def _figures(cell: Cell, result: dict[str, Any]) -> Figures:
    done = max(1, result["cycles"] if cell.load == "connect" else result["groups"][0]["messages"])
    return {
        "user_us": 1e6 * result["peer_user_cpu"] / done,
        "cpu_us": 1e6 * result["peer_cpu"] / done,
        "rate": done / result["seconds"],
    }


def _row(cell: Cell, rounds: list[list[Figures]]) -> str:
    cells = [cell.name]
    for figure in FIGURES:
        pairs = [(a[figure.key], b[figure.key]) for a, b in rounds]
        ratios = [a / b for a, b in pairs if b]
        cells += [number(statistics.median(side)) for side in zip(*pairs)]
        cells.append(
            f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f}–{max(ratios):.2f})"
            if ratios
            else ""
        )
    return f"| {' | '.join(cells)} |"

"""What was measured, in memory and as a file whose changes a person can read."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any, NamedTuple

from bench.cells import BY_NAME, CPU, RATE

DIGITS = 5
"""Significant digits that a file keeps."""
SHARES = ("peer_share", "load_share")
"""Figures of which a file keeps only the median."""
DEPTH = 4
"""Objects in objects that have a line for each member: down to the servers of a cell."""

Results = dict[str, Any]
"""Facts about the run, and by name the cells. Each has ``peers``, which are Figures by name,
``errors`` by name, and maybe a ``ceiling``, the rate of the trivial server."""


class Spread(NamedTuple):
    """A figure's median over the rounds, and its extremes."""

    median: float
    low: float
    high: float


Figures = dict[str, Spread]


def summary(rounds: list[dict[str, float]]) -> Figures:
    """Return the spread of each figure."""
    values = {key: [each[key] for each in rounds] for key in rounds[0]}
    return {
        key: Spread(statistics.median(each), min(each), max(each)) for key, each in values.items()
    }


def read(path: Path) -> Results:
    """Return what ``write`` has written."""
    results: Results = json.loads(path.read_text())
    for cell in results["cells"].values():
        cell.setdefault("errors", {})
        for figures in cell["peers"].values():
            for key, kept in figures.items():
                figures[key] = Spread(*kept) if isinstance(kept, list) else Spread(kept, kept, kept)
    return results


def write(results: Results, path: Path) -> None:
    """Write the figures that are of use, a line for each server of each cell."""
    cells = {name: _kept(name, cell) for name, cell in results["cells"].items()}
    path.write_text(_json({**results, "cells": cells}) + "\n")


def _kept(name: str, cell: dict[str, Any]) -> dict[str, Any]:
    metrics = (BY_NAME[name].metric, *BY_NAME[name].also, RATE, CPU)
    keys = dict.fromkeys([*(metric.key for metric in metrics), *SHARES])
    kept: dict[str, Any] = {"ceiling": _rounded(cell["ceiling"])} if "ceiling" in cell else {}
    if cell["errors"]:
        kept["errors"] = cell["errors"]
    kept["peers"] = {
        peer: {key: _one_or_three(key, figures[key]) for key in keys if key in figures}
        for peer, figures in cell["peers"].items()
    }
    return kept


def _one_or_three(key: str, figure: Spread) -> float | list[float]:
    three = [_rounded(value) for value in figure]
    return three[0] if key in SHARES or len(set(three)) == 1 else three


def _rounded(value: float) -> float:
    rounded = float(f"{value:.{DIGITS}g}")
    return int(rounded) if rounded.is_integer() else rounded


def _json(value: Any, depth: int = 0) -> str:
    if not isinstance(value, dict) or not value or depth == DEPTH:
        return json.dumps(value)
    indent = " " * depth
    members = [
        f"{indent} {json.dumps(key)}: {_json(each, depth + 1)}" for key, each in value.items()
    ]
    return "\n".join(["{", ",\n".join(members), f"{indent}}}"])

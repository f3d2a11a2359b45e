"""Figures for people."""

from __future__ import annotations

from typing import Any

from bench.cells import Metric
from bench.results import Spread


def ranked(found: dict[str, Any], metric: Metric) -> list[tuple[str, dict[str, Any]]]:
    """Return a cell's peers, the best first."""
    with_it = [(name, each) for name, each in found["peers"].items() if metric.key in each]
    sign = -1 if metric.higher_is_better else 1
    return sorted(with_it, key=lambda item: sign * item[1][metric.key].median)


def number(value: float) -> str:
    """Return a figure with three digits, and k or M."""
    for limit, unit in ((1e6, " M"), (1e4, " k")):
        if value >= limit:
            scaled = value / (limit if unit == " M" else 1e3)
            return f"{scaled:.2f}{unit}" if scaled < 10 else f"{scaled:.0f}{unit}"
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(figure: Spread | None, rounds: int) -> str:
    """Return the median, and the lowest and highest if there was more than one round."""
    if figure is None:
        return ""
    ends = f" ({number(figure.low)} – {number(figure.high)})" if rounds > 1 else ""
    return number(figure.median) + ends

"""The gate of CI: it fails on a collapse only, as machines there are noisy.

baseline.json holds our ratios to some peers in the last full run: of messages per second, and of
messages per second of CPU time. A cell has collapsed if one of its ratios is less than half of
that, twice in a row. Rates count only if the peer got at least half of a core: with less, the
machine was too busy.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

from bench.cells import BY_NAME, GATE_CELLS, GATE_PEERS, OURS, Cell
from bench.results import Results

BASELINE = Path(__file__).with_name("baseline.json")
COLLAPSE = 0.5
ENOUGH_OF_A_CORE = 0.5

Ratios = dict[str, dict[str, dict[str, float]]]


def ratios(results: Results) -> Ratios:
    """Return our ratios to the peers: by cell, peer and figure."""
    found: Ratios = {}
    for cell in GATE_CELLS:
        peers = results["cells"].get(cell, {}).get("peers", {})
        ours = peers.get(OURS)
        if ours:
            rivals = {name: peers[name] for name in GATE_PEERS if name in peers and name != OURS}
            found[cell] = {name: _ratio(ours, rival) for name, rival in rivals.items()}
    return found


def _ratio(ours: dict[str, Any], peer: dict[str, Any]) -> dict[str, float]:
    ratio = {"cpu": peer["cpu_us"].median / ours["cpu_us"].median}
    if peer["server_share"].median >= ENOUGH_OF_A_CORE:
        ratio["rate"] = ours["rate"].median / peer["rate"].median
    return {key: round(value, 3) for key, value in ratio.items()}


def record(results: Results) -> None:
    """Make the ratios of these results the baseline."""
    BASELINE.write_text(json.dumps(ratios(results), indent=2) + "\n")


def collapsed(results: Results) -> list[str]:
    """Return the cells whose ratios have fallen below half of the baseline."""
    recorded, now = json.loads(BASELINE.read_text()), ratios(results)
    return [
        cell
        for cell in now
        if any(
            ratio < COLLAPSE * recorded.get(cell, {}).get(peer, {}).get(key, 0)
            for peer, compared in now[cell].items()
            for key, ratio in compared.items()
        )
    ]


def check(results: Results, again: Callable[[Cell], Results]) -> int:
    """Print a verdict, and return the exit code.

    Args:
        results: Of the cells of the gate.
        again: Measures a cell a second time.
    """
    bad = [cell for cell in collapsed(results) if cell in collapsed(again(BY_NAME[cell]))]
    for cell in bad:
        print(f"bench: {cell} has collapsed: less than half of what {BASELINE.name} has")
    failed = [cell for cell in results["cells"] if OURS in results["cells"][cell]["errors"]]
    for cell in failed:
        print(f"bench: {cell} failed: {results['cells'][cell]['errors'][OURS]}")
    if not bad and not failed:
        print("bench: no collapse")
    return bool(bad or failed)

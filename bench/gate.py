"""The gate of CI: it fails on a collapse only, as machines there are noisy.

baseline.json holds our ratios to some peers in the last full run: of messages per second, and of
messages per second of CPU time. A cell has collapsed if one of its ratios is less than half of
that, twice in a row. Rates count only if the peer got at least half of a core. While other programs
keep the machine busy, the gate doesn't judge: they slow a server with threads down more than one
with a single thread.
"""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any, Callable

import psutil

from bench.cells import BY_NAME, GATE_CELLS, GATE_PEERS, OURS, Cell
from bench.results import Results

BASELINE = Path(__file__).with_name("baseline.json")
COLLAPSE = 0.5
ENOUGH_OF_A_CORE = 0.5
TOO_BUSY = 0.25
"""If other programs use more than this part of the machine's CPU time, it is too busy to judge."""

Ratios = dict[str, dict[str, dict[str, float]]]


class OtherPrograms:
    """Measures the CPU time that other programs use, from now on."""

    def __init__(self) -> None:
        self._all, self._busy, self._ours = self._now()

    def share(self) -> float:
        """Return the part of the machine's CPU time that they have used, from 0 to 1.

        Processes that this one has started count as ours once they have ended.
        """
        everything, busy, ours = self._now()
        others = (busy - self._busy) - (ours - self._ours)
        return max(0.0, others / max(everything - self._all, 1e-9))

    @staticmethod
    def _now() -> tuple[float, float, float]:
        times = psutil.cpu_times()
        waiting = times.idle + getattr(times, "iowait", 0.0)
        usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        ours = sum(usage.ru_utime + usage.ru_stime for usage in usages)
        return sum(times), sum(times) - waiting, ours


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
    if peer["peer_share"].median >= ENOUGH_OF_A_CORE:
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


def check(results: Results, again: Callable[[Cell], Results], others: Callable[[], float]) -> int:
    """Print a verdict, and return the exit code.

    Args:
        results: Of the cells of the gate.
        again: Measures a cell a second time.
        others: Returns the part of the machine's CPU time that other programs have used.
    """
    bad = [cell for cell in collapsed(results) if cell in collapsed(again(BY_NAME[cell]))]
    failed = [cell for cell in results["cells"] if OURS in results["cells"][cell]["errors"]]
    for cell in failed:
        print(f"bench: {cell} failed: {results['cells'][cell]['errors'][OURS]}")
    busy = others()
    if bad and not failed and busy > TOO_BUSY:
        print(f"bench: not judged: other programs used {busy:.0%} of the machine's CPU time")
        return 0
    for cell in bad:
        print(f"bench: {cell} has collapsed: less than half of what {BASELINE.name} has")
    if not bad and not failed:
        print("bench: no collapse")
    return bool(bad or failed)

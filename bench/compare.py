"""Two results of the benchmark side by side."""

from __future__ import annotations

from bench.cells import BY_NAME, OURS, OWN
from bench.results import Results


def compare(old: Results, new: Results) -> str:
    """Return a table of our figures, old and new.

    Beside each change stands the median change of the peers in the same cell, as the machine may
    have been busier one time than the other. That changes CPU time per message least.
    """
    rows = [f"{'':34}{'old':>12}{'new':>12}{'change':>9}{'peers':>8}  CPU"]
    for name, found in new["cells"].items():
        was = old["cells"].get(name)
        if was is None or name not in BY_NAME:
            continue
        key = BY_NAME[name].metric.key
        changes = {
            peer: figures[key].median / was["peers"][peer][key].median
            for peer, figures in found["peers"].items()
            if key in was["peers"].get(peer, {}) and was["peers"][peer][key].median
        }
        others = sorted(change for peer, change in changes.items() if peer not in OWN)
        for peer in OWN:
            if peer not in changes:
                continue
            before, now = was["peers"][peer], found["peers"][peer]
            label = name if peer == OURS else f"  {peer}"
            row = f"{label:34}{before[key].median:>12,.1f}{now[key].median:>12,.1f}"
            row += f"{changes[peer] - 1:>+9.0%}"
            row += f"{others[len(others) // 2] - 1:>+8.0%}" if others else " " * 8
            if "cpu_us" in now and "cpu_us" in before:
                row += f"  {before['cpu_us'].median:.2f} → {now['cpu_us'].median:.2f} µs"
            if before[key].low <= now[key].median <= before[key].high:
                row += "  (within the old spread)"
            rows.append(row)
    return "\n".join(rows)

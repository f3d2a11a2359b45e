"""Fuzz each target for its share of the time.

`python -m tests.fuzz.run [--minutes N] [TARGET ...]`

A finding is left in tests/fuzz/findings/; `python -m tests.fuzz.targets TARGET FILE` shows it
again.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz import targets
from tests.support import ROOT

HERE = Path(__file__).parent
FINDINGS = HERE / "findings"
MEGABYTES = 1000
"""MB of resident memory at which a target counts as leaking."""
MIN_EDGES = 25
"""Branches that each target reaches. With fewer, ws/ was imported before it could be instrumented,
and nothing guides the fuzzing."""
INPUT_SECONDS = 10
"""Within this time, any input must be handled."""


def fuzz(name, seconds, grown):
    """Run one target, which adds inputs to the folder *grown*; return whether it found nothing."""
    FINDINGS.mkdir(exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={INPUT_SECONDS}",
        f"-rss_limit_mb={MEGABYTES}",
        f"-artifact_prefix={FINDINGS}/{name}-",
    ]
    command = [sys.executable, "-m", "tests.fuzz.targets", name, *options]
    command += [grown, str(HERE / "corpus" / name)]
    with subprocess.Popen(
        command,
        cwd=str(ROOT),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        output = process.communicate()[0].decode(errors="replace")
    if process.returncode:
        print(output[-3000:])
    runs = re.findall(r"#(\d+)\s+DONE\s+cov: (\d+) ft: (\d+)", output)
    runs, edges, features = runs[-1] if runs else ("0", "0", "0")
    blind = int(edges) < MIN_EDGES
    verdict = "FINDING" if process.returncode else "NOT INSTRUMENTED" if blind else "no finding"
    print(f"{name:12}{int(runs):>12,} inputs {edges:>6} edges {features:>6} features  {verdict}")
    sys.stdout.flush()
    return not (process.returncode or blind)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1, help="for all targets together")
    parser.add_argument("targets", nargs="*", choices=[*targets.TARGETS, []], metavar="TARGET")
    options = parser.parse_args()
    names = options.targets or list(targets.TARGETS)
    seconds = max(1, round(options.minutes * 60 / len(names)))
    with tempfile.TemporaryDirectory() as folder:
        outcomes = []
        for name in names:
            grown = Path(folder, name)
            grown.mkdir()
            outcomes.append(fuzz(name, seconds, str(grown)))
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())

"""The suite against other servers: ``python -m conformance.league [NAME...] [--cases PREFIX...]``.

Their failures are data; only ours fail the run. All results are kept, so that it can be run in
parts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Iterator, Sequence

from bench.peers import PEERS
from conformance import report
from conformance.cases import CASES, section, select
from conformance.harness import CASE_SECONDS, Run
from conformance.image import SUITE
from conformance.progress import Progress
from conformance.results import Outcome, Result
from conformance.server import HarnessError
from conformance.testees import Testee
from tests.support import ROOT

REPORTS = Path(__file__).parent / "reports-league"
DOCUMENT = ROOT / "docs/league.md"
OURS = "threaded-ws"
CONTESTANTS = [
    name for name in PEERS if name not in ("threaded-ws-fast", "websockets-uvloop", "bare")
]
"""Without servers that differ from another only in their event loop or extra."""
BEHAVIORS = ("OK", "NON-STRICT", "FAILED", "UNIMPLEMENTED", "INFORMATIONAL", "MISSING")
NOT_RUN = "not run"
CLOSINGS = {
    "closed UNCLEAN": ("UNCLEAN",),
    "closed wrongly": ("FAILED", "FAILED BY CLIENT", "WRONG CODE"),
}


@dataclass
class Standing:
    """The results of a peer, in the cases that were run with this version of it."""

    outcome: Outcome
    version: str
    date: str

    @classmethod
    def load(cls, name: str, folder: Path) -> Standing:
        """Return the kept results of a peer; none of those of another version."""
        version, path = PEERS[name].version, folder / f"{name}.json"
        kept = json.loads(path.read_text()) if path.exists() else {}
        if kept.get("version") != version:
            kept = {"date": "", "seconds": 0.0, "faults": [], "results": []}
        results = {result["case"]: Result(**result) for result in kept["results"]}
        cases = [case for case in CASES if case in results]
        outcome = Outcome(_testee(name, cases), cases, results, kept["faults"], kept["seconds"])
        return cls(outcome, version, kept["date"])

    def add(self, outcome: Outcome, folder: Path) -> None:
        """Add the results of a run, and keep them."""
        kept = self.outcome
        kept.results.update(outcome.results)
        kept.cases[:] = [case for case in CASES if case in kept.results]
        for fault in outcome.faults:
            kept.note(fault)
        kept.seconds += outcome.seconds
        self.date = time.strftime("%Y-%m-%d")
        state = {
            "version": self.version,
            "date": self.date,
            "seconds": kept.seconds,
            "faults": kept.faults,
            "results": [asdict(result) for result in kept.results.values()],
        }
        path = folder / f"{kept.testee.name}.json"
        path.write_text(json.dumps(state, indent=1))


def _testee(name: str, cases: list[str]) -> Testee:
    peer = PEERS[name]
    command = f"bench.peers {name} --no-ping" + (" --compress" if peer.compression else "")
    return Testee(name, f"{peer.title} {peer.version}", cases, command)


def _counts(outcome: Outcome) -> dict[str, int]:
    """Return the number for each column, by its title."""
    results = outcome.results.values()
    counts = Counter(result.behavior for result in results)
    for title, closings in CLOSINGS.items():
        counts[title] = sum(result.closing in closings for result in results)
    counts[NOT_RUN] = len(CASES) - len(results)
    return counts


def table(standings: list[Standing]) -> Iterator[str]:
    """Yield the table, in Markdown."""
    counts = [_counts(standing.outcome) for standing in standings]
    titles = (*BEHAVIORS, NOT_RUN, *CLOSINGS)
    columns = [title for title in titles if any(count[title] for count in counts)]
    yield f"| Server | Version | {' | '.join(columns)} | Date |"
    yield "| :--- | :--- |" + " ---: |" * len(columns) + " ---: |"
    for standing, count in zip(standings, counts):
        title = PEERS[standing.outcome.testee.name].title
        cells = " | ".join(str(count[name] or "") for name in columns)
        yield f"| {title} | {standing.version} | {cells} | {standing.date} |"


def ranges(cases: Sequence[str]) -> str:
    """Return case ids, abbreviated: 1.1.1–4 for a range, 1.1 or 1 for all cases below."""
    wanted, parts = set(cases), []
    for number in dict.fromkeys(map(section, cases)):
        if wanted.issuperset(select(str(number))):
            parts.append(str(number))
            continue
        for group, members in groupby(
            (case for case in cases if section(case) == number),
            key=lambda case: case.rpartition(".")[0],
        ):
            if wanted.issuperset(select(group)):
                parts.append(group)
                continue
            numbers = [int(case.rpartition(".")[2]) for case in members]
            for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
                found = [one for _, one in run]
                last = f"–{found[-1]}" if len(found) > 1 else ""
                parts.append(f"{group}.{found[0]}{last}")
    return ", ".join(parts)


def _missed(outcome: Outcome) -> Iterator[str]:
    results = [outcome.results[case] for case in outcome.cases]
    for behavior in BEHAVIORS:
        if behavior in ("OK", "INFORMATIONAL"):
            continue
        cases = [result.case for result in results if result.behavior == behavior]
        if cases:
            yield f"- {behavior}: {ranges(cases)}"
    for title, closings in CLOSINGS.items():
        cases = [result.case for result in results if result.closing in closings]
        if cases:
            yield f"- {title}: {ranges(cases)}"
    yield from dict.fromkeys(f"- {fault.partition(': ')[0]}" for fault in outcome.faults)


def document(standings: list[Standing]) -> str:
    """Return docs/league.md."""
    lines = [
        "# League",
        "",
        "This page compares echo servers on other libraries by all",
        f"{len(CASES)} cases of the Autobahn suite ({SUITE.replace('==', ' ')}).",
        "Each server is the smallest honest one (`bench/peers/`). Each compresses if its",
        "library can; all other options are at the library's defaults. `nox -s league` writes",
        "this page; `nox -s league -- aiohttp` runs one server again.",
        "",
        *table(standings),
        "",
        "The suite tolerates NON-STRICT answers, although they are not what the RFC says.",
        "UNIMPLEMENTED mostly means that the library has no compression. The three",
        "INFORMATIONAL cases aren't judged. How a connection is closed is judged separately: an",
        "UNCLEAN closing breaks off in the middle. If an answer races the close, the result of",
        "a case or two changes from run to run.",
        "",
        "## What each server misses",
    ]
    for standing in standings:
        title = PEERS[standing.outcome.testee.name].title
        lines += ["", f"**{title} {standing.version}**", ""]
        lines += list(_missed(standing.outcome)) or ["- nothing"]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the league; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m conformance.league", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CONTESTANTS)}")
    parser.add_argument("--cases", nargs="+", metavar="PREFIX", help="only these, as 6.4 or 9")
    parser.add_argument("--limit", type=float, default=CASE_SECONDS, help="seconds for a case")
    parser.add_argument(
        "--reports", type=Path, default=REPORTS, help="the folder in which results are kept"
    )
    parser.add_argument("--workers", type=int, default=(os.cpu_count() or 1) + 1)
    arguments = parser.parse_args()
    names = arguments.names or CONTESTANTS
    cases = select(*arguments.cases) if arguments.cases else CASES
    for name in names:
        if name not in PEERS:
            parser.error(f"{name!r} is none of {', '.join(CONTESTANTS)}")
        if PEERS[name].missing:
            parser.error(f"{name} needs {PEERS[name].missing}")
    with tempfile.TemporaryDirectory(prefix="reports-", dir=arguments.reports.parent) as folder:
        run = Run(
            [Outcome(_testee(name, cases), cases) for name in names],
            Path(folder, "new"),
            limit=arguments.limit,
            workers=arguments.workers,
        )
        try:
            Progress(run).execute()
        except HarnessError as error:
            print(f"league: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return 130
        print(report.table(run))
        _publish(run, arguments.reports)
    ours = [outcome for outcome in run.outcomes if outcome.testee.name == OURS]
    return 0 if all(outcome.good for outcome in ours) else 1


def _publish(run: Run, folder: Path) -> None:
    """Keep the results, and write the page and the document about all that are kept."""
    folder.mkdir(exist_ok=True)
    here = [name for name in CONTESTANTS if not PEERS[name].missing]
    standings = {name: Standing.load(name, folder) for name in here}
    for outcome in run.outcomes:
        name = outcome.testee.name
        shutil.copytree(run.folder / name, folder / name, dirs_exist_ok=True)
        standings[name].add(outcome, folder)
    found = [standing for standing in standings.values() if standing.outcome.results]
    found.sort(key=lambda standing: -standing.outcome.passed)
    everything = Run([standing.outcome for standing in found], folder, workers=0)
    everything.seconds = sum(outcome.seconds for outcome in everything.outcomes)
    report.write(everything, title=f"{len(found)} servers, {len(CASES)} cases")
    print(f"\n{os.path.relpath(folder / 'index.html')}")
    if len(found) == len(CONTESTANTS) and folder == REPORTS:
        DOCUMENT.write_text(document(found), encoding="utf-8")
        print(os.path.relpath(DOCUMENT))


if __name__ == "__main__":
    sys.exit(main())

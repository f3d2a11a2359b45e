"""The suite against other servers: ``python -m conformance.league [NAME...] [--cases PREFIX...]``.

With ``--clients``, its fuzzing server against other clients. Their failures are data; only ours
fail the run. All results are kept, so that it can be run in parts.
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

from bench.peers import CLIENTS, SERVERS, Peer
from conformance import report
from conformance.cases import CASES, section, select
from conformance.harness import CASE_SECONDS, Run
from conformance.progress import Progress
from conformance.results import Outcome, Result
from conformance.server import HarnessError
from conformance.testees import Testee
from tests.support import ROOT

REPORTS = Path(__file__).parent / "reports-league"
DOCUMENT = ROOT / "docs/league.md"
OURS = "threaded-ws"
VARIANTS = ("threaded-ws-fast", "threaded-ws-callbacks", "websockets-uvloop", "bare")
"""They differ from another peer only in their event loop, extra or way, or aren't complete."""


@dataclass(frozen=True)
class Side:
    """One end of a connection, whose implementations are compared."""

    name: str
    """In the plural; also that of its folder of kept results."""
    one: str
    peers: dict[str, Peer]
    program: str
    """The module that runs them."""
    options: str
    scheme: str
    """As in `Testee`."""

    @property
    def title(self) -> str:
        return self.name.capitalize()

    @property
    def contestants(self) -> list[str]:
        return [name for name in self.peers if name not in VARIANTS]

    def testee(self, name: str, cases: list[str]) -> Testee:
        peer = self.peers[name]
        command = f"{self.program} {name}{self.options}" + " --compress" * peer.compression
        return Testee(name, f"{peer.title} {peer.version}", cases, command, scheme=self.scheme)


SIDES = (
    Side("servers", "server", SERVERS, "bench.peers", " --no-ping", ""),
    Side("clients", "client", CLIENTS, "bench.clients", "", "ws"),
)
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
    title: str
    version: str
    date: str

    @classmethod
    def load(cls, side: Side, name: str, folder: Path) -> Standing:
        """Return the kept results of a peer; none of those of another version."""
        peer, path = side.peers[name], folder / f"{name}.json"
        kept = json.loads(path.read_text()) if path.exists() else {}
        if kept.get("version") != peer.version:
            kept = {"date": "", "seconds": 0.0, "faults": [], "results": []}
        results = {result["case"]: Result(**result) for result in kept["results"]}
        cases = [case for case in CASES if case in results]
        testee = side.testee(name, cases)
        outcome = Outcome(testee, cases, results, kept["faults"], kept["seconds"])
        return cls(outcome, peer.title, peer.version, kept["date"])

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


def _counts(outcome: Outcome) -> dict[str, int]:
    """Return the number for each column, by its title."""
    results = outcome.results.values()
    counts = Counter(result.behavior for result in results)
    for title, closings in CLOSINGS.items():
        counts[title] = sum(result.closing in closings for result in results)
    counts[NOT_RUN] = len(CASES) - len(results)
    return counts


def table(side: Side, standings: list[Standing]) -> Iterator[str]:
    """Yield the table, in Markdown."""
    counts = [_counts(standing.outcome) for standing in standings]
    titles = (*BEHAVIORS, NOT_RUN, *CLOSINGS)
    columns = [title for title in titles if any(count[title] for count in counts)]
    yield f"| {side.one.capitalize()} | Version | {' | '.join(columns)} | Date |"
    yield "| :--- | :--- |" + " ---: |" * len(columns) + " ---: |"
    for standing, count in zip(standings, counts):
        cells = " | ".join(str(count[name] or "") for name in columns)
        yield f"| {standing.title} | {standing.version} | {cells} | {standing.date} |"


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


def section_of(side: Side, standings: list[Standing]) -> str:
    """Return the section of docs/league.md about a side, without its title."""
    lines = ["", *table(side, standings), "", f"### What each {side.one} misses"]
    for standing in standings:
        lines += ["", f"**{standing.title} {standing.version}**", ""]
        lines += list(_missed(standing.outcome)) or ["- nothing"]
    return "\n".join(lines) + "\n"


def put(document: str, title: str, section: str) -> str:
    """Return a document with another content of one of its sections."""
    head = f"\n## {title}\n"
    before, found, rest = document.partition(head)
    if not found:
        raise ValueError(f"no section {title!r}")
    _, following, after = rest.partition("\n## ")
    return before + head + section + following + after


def main() -> int:
    """Run the league; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m conformance.league", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these servers or clients")
    parser.add_argument("--clients", action="store_true", help="clients instead of servers")
    parser.add_argument("--cases", nargs="+", metavar="PREFIX", help="only these, as 6.4 or 9")
    parser.add_argument("--limit", type=float, default=CASE_SECONDS, help="seconds for a case")
    parser.add_argument(
        "--reports", type=Path, default=REPORTS, help="the folder in which results are kept"
    )
    parser.add_argument("--workers", type=int, default=(os.cpu_count() or 1) + 1)
    arguments = parser.parse_args()
    side = SIDES[arguments.clients]
    names = arguments.names or side.contestants
    cases = select(*arguments.cases) if arguments.cases else CASES
    for name in names:
        if name not in side.peers:
            parser.error(f"{name!r} is none of {', '.join(side.contestants)}")
        if side.peers[name].missing:
            parser.error(f"{name} needs {side.peers[name].missing}")
    with tempfile.TemporaryDirectory(prefix="reports-", dir=arguments.reports.parent) as folder:
        run = Run(
            [Outcome(side.testee(name, cases), cases) for name in names],
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
        _publish(side, run, arguments.reports / side.name)
    ours = [outcome for outcome in run.outcomes if outcome.testee.name == OURS]
    return 0 if all(outcome.good for outcome in ours) else 1


def _publish(side: Side, run: Run, folder: Path) -> None:
    """Keep the results, and write the page and the document about all that are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    here = [name for name in side.contestants if not side.peers[name].missing]
    standings = {name: Standing.load(side, name, folder) for name in here}
    for outcome in run.outcomes:
        name = outcome.testee.name
        shutil.copytree(run.folder / name, folder / name, dirs_exist_ok=True)
        standings[name].add(outcome, folder)
    found = [standing for standing in standings.values() if standing.outcome.results]
    found.sort(key=lambda standing: -standing.outcome.passed)
    everything = Run([standing.outcome for standing in found], folder, workers=0)
    everything.seconds = sum(outcome.seconds for outcome in everything.outcomes)
    report.write(everything, title=f"{len(found)} {side.name}, {len(CASES)} cases")
    print(f"\n{os.path.relpath(folder / 'index.html')}")
    if len(found) == len(side.contestants) and folder == REPORTS / side.name:
        document = DOCUMENT.read_text(encoding="utf-8")
        document = put(document, side.title, section_of(side, found))
        DOCUMENT.write_text(document, encoding="utf-8")
        print(os.path.relpath(DOCUMENT))


if __name__ == "__main__":
    sys.exit(main())

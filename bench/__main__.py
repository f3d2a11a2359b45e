"""Measure, compare and draw: ``nox -s bench``."""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from tqdm import tqdm

from bench import ROOT, against, gate, report
from bench.cells import (
    CELLS,
    GATE_CELLS,
    GATE_PEERS,
    OURS,
    QUICK_CELLS,
    QUICK_PEERS,
    SIDES,
    Cell,
)
from bench.compare import compare
from bench.load import Load
from bench.measure import Run, about
from bench.peers import PEERS
from bench.programs import Running, certificate
from bench.results import Results, read, write

DOCS = ROOT / "docs"
PAGE_RESULTS = {side: DOCS / f"performance/{side}s.json" for side in SIDES}
OTHER_RESULTS = ROOT / "bench/results.json"
LOAD_SECONDS = 60.0
"""How long ``--load`` applies each cell, by default."""
LOG_SECONDS = 30.0
"""Between two lines of progress in a log; a terminal shows each step."""


def main() -> int:
    """Return the exit code: 1 if the gate is shut."""
    arguments = _arguments()
    if arguments.page:
        write_page(arguments.page)
        return 0
    cells, peers = _selection(arguments)
    _allow_many_files()
    if arguments.against:
        for line in against.compare(arguments.against, cells):
            print(line, flush=True)
        return 0
    if arguments.load:
        return put_load_on(arguments.load, cells, arguments.seconds or LOAD_SECONDS)
    chosen = (arguments.only, arguments.peer, arguments.rounds, arguments.seconds, arguments.output)
    whole = not (arguments.quick or arguments.gate or any(chosen))
    runs = {arguments.output or OTHER_RESULTS: cells}
    if whole:
        sides = {cell.side for cell in cells}
        runs = {PAGE_RESULTS[side]: [c for c in cells if c.side == side] for side in sorted(sides)}
    old = read(arguments.compare) if arguments.compare else None
    others = gate.OtherPrograms()
    for output, run in runs.items():
        output.parent.mkdir(parents=True, exist_ok=True)
        write(measure(run, peers, arguments.python_load), output)
        results = read(output)  # as rounded as anyone will see them
        print(report.table(results))
        if old:
            print(compare(old, results))
    if whole:
        write_page(DOCS)
        gate.record(read(PAGE_RESULTS["server"]))
    if arguments.gate:
        again = lambda cell: measure([cell], peers, arguments.python_load)  # noqa: E731
        return gate.check(results, again, others.share)
    return 0


def write_page(folder: Path) -> None:
    """Write the page of the last full run of each side into a folder."""
    report.write({side: read(path) for side, path in PAGE_RESULTS.items()}, folder)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nox -s bench --", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some cells and peers, in two minutes")
    parser.add_argument(
        "--only", action="append", metavar="CELL", help="a name, or a pattern of it"
    )
    parser.add_argument("--peer", action="append", metavar="NAME", help="likewise")
    parser.add_argument("--side", choices=SIDES, help="only the cells of servers, or of clients")
    parser.add_argument("--rounds", type=int, help="measure each cell this many times")
    parser.add_argument("--seconds", type=float, help="the length of one measurement")
    parser.add_argument(
        "--against", type=Path, metavar="CHECKOUT", help="our server beside that of a checkout"
    )
    parser.add_argument("--compare", type=Path, metavar="OLD.json", help="show what has changed")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the results go")
    parser.add_argument(
        "--page",
        type=Path,
        nargs="?",
        const=DOCS,
        metavar="FOLDER",
        help="only write the page of the last full run again, into docs/ or elsewhere",
    )
    parser.add_argument(
        "--gate", action="store_true", help="fail on a collapse against bench/baseline.json"
    )
    parser.add_argument(
        "--load", type=int, metavar="PORT", help="only put load on the server there, to profile it"
    )
    parser.add_argument(
        "--python-load", action="store_true", help="use the load generator that needs no compiler"
    )
    parser.add_argument("--list", action="store_true", help="name the cells and peers, and end")
    arguments = parser.parse_args()
    if arguments.list:
        print(*(f"{cell.name:32}{cell.title}" for cell in CELLS), sep="\n")
        print(
            *(
                f"{name:32}{peer.missing and 'missing: ' + peer.missing}"
                for name, peer in PEERS.items()
            ),
            sep="\n",
        )
        sys.exit()
    return arguments


def _selection(arguments: argparse.Namespace) -> tuple[list[Cell], list[str]]:
    only, wanted = arguments.only or ["*"], arguments.peer or ["*"]
    if arguments.quick or arguments.gate:
        only = arguments.only or list(QUICK_CELLS if arguments.quick else GATE_CELLS)
        wanted = arguments.peer or list(QUICK_PEERS if arguments.quick else GATE_PEERS)
    if arguments.against:
        only, wanted = arguments.only or list(against.CELLS), [OURS]
    cells = [cell for cell in CELLS if any(fnmatch(cell.name, pattern) for pattern in only)]
    cells = [cell for cell in cells if arguments.side in (None, cell.side)]
    if arguments.against:
        cells = [against.prepare(cell) for cell in cells if against.compares(cell)]
    given = {"rounds": arguments.rounds, "seconds": arguments.seconds}
    given = {name: value for name, value in given.items() if value}
    cells = [replace(cell, **given) for cell in cells]
    names = [name for name in PEERS if any(fnmatch(name, pattern) for pattern in wanted)]
    if not cells or not names:
        sys.exit("bench: no such cell or peer: see --list")
    for name in names:
        if PEERS[name].missing:
            print(f"bench: {name} is left out: {PEERS[name].missing} is missing", file=sys.stderr)
    return cells, [name for name in names if not PEERS[name].missing]


def _allow_many_files() -> None:
    """Allow one descriptor for each connection, here and in what is started."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def put_load_on(port: int, cells: list[Cell], seconds: float) -> int:
    """Load a server that runs already, with each cell for some seconds."""
    with tempfile.TemporaryDirectory() as folder:
        load = Load(folder)
        for cell in (cell for cell in cells if cell.side == "server"):
            print(cell.name, load.run(replace(cell, seconds=seconds), Running(port)))
    return 0


def measure(cells: list[Cell], peers: list[str], python_load: bool) -> Results:
    """Run cells with a progress bar."""
    interval = 0.1 if sys.stderr.isatty() else LOG_SECONDS
    began, others = time.monotonic(), gate.OtherPrograms()
    with tempfile.TemporaryDirectory() as folder, certificate() as paths, tqdm(
        unit="run", mininterval=interval, dynamic_ncols=True
    ) as bar:

        def step(what: str) -> None:
            bar.set_description(f"{what:44}", refresh=False)
            bar.update()

        run = Run(Load(folder, python_load), paths, frozenset(peers), step)
        bar.reset(run.steps(cells))
        measured = {name for cell in cells for name in run.names(cell)}
        results = about(run.load, [name for name in peers if name in measured])
        results["cells"] = {cell.name: run.cell(cell) for cell in cells}
        results["seconds"] = round(time.monotonic() - began)
        results["others"] = round(others.share(), 2)
    return results


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

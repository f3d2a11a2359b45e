"""Measure crowds, and print the table: `python -m tests.attacks.crowds [NAME ...]`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from tests.attacks.crowds import report
from tests.attacks.crowds.measure import measure
from tests.attacks.crowds.table import BY_NAME

SECONDS = 15.0
"""How long a crowd attacks, for the table of a release."""


def main():
    """Measure; return the exit code."""
    arguments = parse()
    if arguments.peers:
        from tests.attacks.crowds import peers  # whose packages nothing else needs

        names = arguments.names or peers.CROWDS
        peers.write(peers.compare(arguments.seconds, peers.COMPARED, names), arguments.seconds)
        return 0
    crowds = [BY_NAME[name] for name in arguments.names or BY_NAME]
    found = []
    for crowd in crowds:
        print(f"{crowd.name} ...", file=sys.stderr, flush=True)
        found.append(measure(crowd, arguments.seconds * crowd.longer))
    print(*report.lines(found), sep="\n")
    if arguments.output:
        arguments.output.write_text(json.dumps([asdict(figures) for figures in found], indent=1))
    if arguments.write_table:
        report.write(found)
    return int(any(figures.faults for figures in found))


def parse():
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks.crowds", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *BY_NAME], metavar="NAME", help="a crowd")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="default: %(default)g")
    parser.add_argument(
        "--write-table", action="store_true", help="write the table into docs/threats.md"
    )
    parser.add_argument(
        "--peers", action="store_true", help="attack other libraries, too, and write docs/crowds.md"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the figures as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

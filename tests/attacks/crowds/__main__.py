"""Measure crowds, and print the table: `python -m tests.attacks.crowds [NAME ...]`."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from tests.attacks import figures
from tests.attacks.crowds.measure import measure
from tests.attacks.crowds.table import BY_NAME
from tests.support import ROOT

SECONDS = 15.0
"""How long a crowd attacks, for the table of a release."""
TABLE = re.compile(r"(<!-- crowds: [^>]*-->\n).*?(<!-- end of crowds -->)", re.DOTALL)
"""Where the table is in the page."""


def main():
    """Measure; return the exit code."""
    arguments = parse()
    if arguments.peers is not None:
        from tests.attacks.crowds import peers  # whose packages nothing else needs

        if arguments.redraw:
            results = peers.read()
        else:
            crowds, libraries = arguments.names or peers.CROWDS, arguments.peers or peers.COMPARED
            results = peers.measured(arguments.seconds, crowds, libraries)
        peers.write(results, arguments.docs)
        return 0
    found = []
    for crowd in (BY_NAME[name] for name in arguments.names or BY_NAME):
        print(f"{crowd.name} ...", file=sys.stderr, flush=True)
        found.append(measure(crowd, arguments.seconds * crowd.longer))
    print(*figures.text(found), sep="\n")
    if arguments.output:
        arguments.output.write_text(json.dumps([each.pack() for each in found], indent=1))
    if arguments.write_table:
        write(figures.markdown(found), arguments.docs / "threats.md")
    return int(any(each.faults for each in found))


def write(table, path):
    """Put the table into a page, in place of the last one."""
    page = path.read_text(encoding="utf-8")
    written, count = TABLE.subn(lambda at: f"{at[1]}\n{table}\n\n{at[2]}", page)
    assert count == 1, f"{path} has no place for the table"
    path.write_text(written, encoding="utf-8")


def parse():
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks.crowds", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *BY_NAME], metavar="NAME", help="a crowd")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="default: %(default)g")
    parser.add_argument(
        "--write-table", action="store_true", help="write the table into threats.md"
    )
    parser.add_argument(
        "--peers",
        nargs="*",
        metavar="LIBRARY",
        help="attack other libraries, too, or only these of bench/peers, and write crowds.md",
    )
    parser.add_argument(
        "--redraw", action="store_true", help="with --peers: make the page of the last results"
    )
    parser.add_argument(
        "--docs", type=Path, default=ROOT / "docs", metavar="FOLDER", help="where these pages are"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the figures as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

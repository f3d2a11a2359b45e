"""The table of docs/interop.md, from the results of a run."""

from __future__ import annotations

import re

from tests.interop.packages import version
from tests.interop.rows import CHECKS, CLIENTS, PROXIES, SERVERS
from tests.support import ROOT

PAGE = ROOT / "docs/interop.md"
PLACE = re.compile(r"(<!-- interop: [^>]*-->\n).*?(<!-- end of interop -->)", re.DOTALL)
"""Where the tables are in the page."""


class Writer:
    """A plugin that notes each check's outcome, and writes the page at the end."""

    def __init__(self):
        self.outcomes = {}

    def pytest_runtest_logreport(self, report):
        cell = dict(report.user_properties).get("cell")
        if cell and report.when in ("call", "teardown"):
            before = self.outcomes.get(tuple(cell), "passed")
            self.outcomes[tuple(cell)] = report.outcome if before == "passed" else before

    def pytest_sessionfinish(self):
        page = PAGE.read_text(encoding="utf-8")
        text = markdown(self.outcomes)
        written, count = PLACE.subn(lambda at: f"{at[1]}\n{text}\n{at[2]}", page)
        assert count == 1, f"{PAGE} has no place for the tables"
        PAGE.write_text(written, encoding="utf-8")


def markdown(outcomes):
    """Return the tables.

    Args:
        outcomes: "passed" or "failed", by the row's id and the check.
    """
    notes = {}
    parts = [
        "## Our server with foreign clients",
        *section(CLIENTS, outcomes, notes),
        "## Our client with foreign servers",
        *section(SERVERS, outcomes, notes),
        "## Our client, a proxy, our server",
        *section(PROXIES, outcomes, notes),
        "## Notes",
        "",
        *(f"{number}. {reason}" for reason, number in notes.items()),
        "",
    ]
    return "\n".join(parts)


def section(rows, outcomes, notes):
    """Return the lines of the table of some rows; reasons are added to the notes."""
    yield ""
    yield "| | " + " | ".join(CHECKS.values()) + " |"
    yield "| :--- |" + " :-: |" * len(CHECKS)
    for row in rows:
        cells = [cell(row, check, outcomes, notes) for check in CHECKS]
        name = f"{row.name} {version(row.needs[0]) or ''}".rstrip()
        yield f"| {name} | " + " | ".join(cells) + " |"
    yield ""


def cell(row, check, outcomes, notes):
    """Return what the table has for a check of a row."""
    if check in row.cannot:
        return str(notes.setdefault(row.cannot[check], len(notes) + 1))
    return {"passed": "✓", "failed": "✗"}.get(outcomes.get((row.id, check)), "not run")

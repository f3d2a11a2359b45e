"""The report of a run: a table for the terminal, a page, a JSON summary and a badge."""

from __future__ import annotations

import json
import platform
import re
import time
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Iterable, Iterator, Sequence

import ws
from conformance.cases import INFORMATIONAL, PERFORMANCE, SECTIONS, section, select
from conformance.harness import Run
from conformance.image import SUITE
from conformance.results import Checked, Outcome, Result

STYLE = Path(__file__).parent / "report.css"
OPEN_FAILURES = 20
"""With more failures than this, their list is folded."""
NARROW_COLUMNS = 7
"""With more columns than this, the page is wider and its font smaller."""
LEVEL_COLUMNS = 12
"""With more columns than this, their heads stand upright."""


def write(run: Run, rows: Sequence[Checked] = (), title: str = "") -> None:
    """Write index.html and summary.json into the run's folder."""
    for name, text in (
        ("index.html", page(run, title or _title(run, rows), rows)),
        ("summary.json", json.dumps(summary(run, rows), indent=1) + "\n"),
    ):
        (run.folder / name).write_text(text, encoding="utf-8")


def _count(outcome: Outcome, number: int | None = None) -> tuple[int, int]:
    """Return how many cases of a section, or of all, passed, and how many there are."""
    cases = [case for case in outcome.cases if number is None or section(case) == number]
    return sum(outcome.results[case].passed for case in cases), len(cases)


def _sections(run: Run) -> list[int]:
    """Return the sections that were run."""
    return [n for n in SECTIONS if any(_count(outcome, n)[1] for outcome in run.outcomes)]


def _wrong(outcome: Outcome) -> list[Result]:
    results = [outcome.results[case] for case in outcome.cases]
    return [result for result in results if not result.passed]


def _verdict(outcome: Outcome) -> str:
    """Return the testee's figures in words."""
    informational = len(INFORMATIONAL.intersection(outcome.cases))
    wrong = len(outcome.cases) - outcome.passed
    text = f"{outcome.passed - (0 if wrong else informational)} OK"
    if informational and not wrong:
        text += f" + {informational} INFORMATIONAL"
    return text + f" of {len(outcome.cases)}"


def table(run: Run) -> str:
    """Return the table of sections and testees, for a terminal."""
    width = 1 + max(11, *(len(outcome.testee.name) for outcome in run.outcomes))
    head = "".join(f"{outcome.testee.name:>{width}}" for outcome in run.outcomes)
    rows = [f"{'':<30}{head}"]
    for number in [*_sections(run), None]:
        title = f"{number:>2} {SECTIONS[number]}" if number else "   all"
        cells = ""
        for outcome in run.outcomes:
            passed, count = _count(outcome, number)
            text = "-" if not count else str(count) if passed == count else f"{passed} of {count}"
            cells += f"{text:>{width}}"
        rows.append(f"{title:<30}{cells}")
    rows.append("")
    for outcome in run.outcomes:
        rows.append(f"{outcome.testee.name}: {_verdict(outcome)}")
        rows += [f"  {fault}" for fault in outcome.faults]
    return "\n".join(rows)


def rows_table(rows: Sequence[Checked]) -> str:
    """Return a line for each file of our own tables, for a terminal."""
    lines = []
    for title, group in groupby(rows, key=lambda row: row.title):
        found = list(group)
        lines.append(f"{sum(row.passed for row in found):>4} of {len(found):<4} {title}")
    return "\n".join(lines)


def summary(run: Run, rows: Sequence[Checked]) -> dict[str, object]:
    """Return the figures, for JSON."""
    return {
        "suite": SUITE,
        "runner": run.suite,
        "ws": ws.__version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(run.seconds, 1),
        "good": run.good and all(row.passed for row in rows),
        "rows": {"passed": sum(row.passed for row in rows), "rows": len(rows)},
        "testees": {
            outcome.testee.name: {
                "about": outcome.testee.about,
                "cases": len(outcome.cases),
                "passed": outcome.passed,
                "faults": outcome.faults,
                "sections": {
                    number: dict(zip(("passed", "cases"), _count(outcome, number)))
                    for number in _sections(run)
                },
                "results": {
                    case: {
                        "behavior": outcome.results[case].behavior,
                        "behaviorClose": outcome.results[case].closing,
                        "milliseconds": outcome.results[case].milliseconds,
                    }
                    for case in outcome.cases
                },
            }
            for outcome in run.outcomes
        },
    }


def badge(run: Run) -> str:
    """Return an SVG with the figures of the largest testee, or with the number of failures."""
    wrong = sum(len(_wrong(outcome)) for outcome in run.outcomes)
    text = f"{wrong} wrong" if wrong else "failed"
    if run.good:
        cases = max((outcome.cases for outcome in run.outcomes), key=len)
        informational = len(INFORMATIONAL.intersection(cases))
        text = f"{len(cases) - informational} + {informational} of {len(cases)}"
    color = "#1a7f4b" if run.good else "#c0302b"
    left, right = 70, 16 + 7 * len(text)
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img"
 aria-label="Autobahn: {text}"><title>Autobahn: {text}</title>
<clipPath id="c"><rect width="{left + right}" height="20" rx="4"/></clipPath>
<g clip-path="url(#c)"><path fill="#454c54" d="M0 0h{left}v20H0z"/>
<path fill="{color}" d="M{left} 0h{right}v20H{left}z"/></g>
<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
<text x="{left / 2}" y="14">Autobahn</text><text x="{left + right / 2}" y="14">{text}</text></g>
</svg>
"""


# The page


def _title(run: Run, rows: Sequence[Checked]) -> str:
    """Return the headline of the page, which says whether everything passed."""
    cases = sum(len(outcome.cases) for outcome in run.outcomes)
    wrong = sum(len(_wrong(outcome)) for outcome in run.outcomes)
    failed = sum(not row.passed for row in rows)
    if wrong or failed:
        parts = [f"{wrong:,} of {cases:,} cases"] * bool(wrong)
        parts += [f"{failed} of {len(rows)} rows"] * bool(failed)
        return f"<span class=bad>{' and '.join(parts)}</span> not as they should be"
    if not run.good:
        return "<span class=bad>All cases pass</span>, but something else went wrong"
    parts = [f"{cases:,} cases"] * bool(cases) + [f"{len(rows)} rows"] * bool(rows)
    return f"<span class=good>All {' and '.join(parts)}</span> as they should be"


def page(run: Run, title: str, rows: Sequence[Checked] = ()) -> str:
    """Return index.html."""
    body = [
        f"<h1>{title}</h1>",
        f"<p class=soft>threaded-ws {ws.__version__}, Python {platform.python_version()},"
        f" {SUITE.replace('==', ' ')}, {time.strftime('%Y-%m-%d %H:%M')}.",
    ]
    if run.outcomes:
        body += [
            "<h2>The Autobahn suite</h2>",
            *_matrix(run),
            "<p class=soft>A case counts if behavior and closing are both exactly OK;"
            f" {', '.join(sorted(INFORMATIONAL))} are INFORMATIONAL, the suite doesn’t judge them."
            f" It took {run.seconds:.0f} s.",
        ]
    body += _rows(rows)
    if not run.good:
        body += ["<h2 id=wrong>What is wrong</h2>", *_wrongs(run)]
    body += _times(run)
    if run.outcomes:
        body += ["<h2>All cases</h2>", *(text for n in _sections(run) for text in _cases(run, n))]
    return f"""\
<!doctype html>
<html lang=en>
<meta charset=utf-8>
<meta name=viewport content="width=device-width">
<title>Conformance: {re.sub("<.*?>", "", title)}</title>
<style>
{STYLE.read_text(encoding="utf-8")}</style>
<body class="{_width(len(run.outcomes))}">
{chr(10).join(body)}
</html>
"""


def _width(columns: int) -> str:
    """Return the classes of a page with so many columns."""
    return "wide upright" if columns > LEVEL_COLUMNS else "wide" if columns > NARROW_COLUMNS else ""


def _head(outcomes: Iterable[Outcome], first: str) -> str:
    cells = (
        f"<th>{o.testee.name}<small>{escape(o.testee.about).replace('.web', '.<wbr>web')}</small>"
        for o in outcomes
    )
    return f"<thead><tr><th>{first}{''.join(cells)}</thead>"


def _matrix(run: Run) -> Iterator[str]:
    yield f"<div class=scroll><table class=matrix>{_head(run.outcomes, '')}<tbody>"
    for number in _sections(run):
        cells = ""
        for outcome in run.outcomes:
            passed, count = _count(outcome, number)
            if not count:
                cells += "<td class=none>–"
            elif passed == count:
                cells += f"<td class=good><a href=#section-{number}>{count}</a>"
            else:
                first = next(r.case for r in _wrong(outcome) if section(r.case) == number)
                anchor = f"#{outcome.testee.name}-{first}"
                cells += f"<td class=bad><a href={anchor}>{passed}<small>/{count}</small></a>"
        yield f"<tr><th><span class=number>{number}</span>{SECTIONS[number]}{cells}"
    yield "<tfoot><tr><th>All"
    for outcome in run.outcomes:
        passed, count = _count(outcome)
        text = f"{count}" if passed == count else f"{passed}<small>/{count}</small>"
        yield f"<td class={'good' if outcome.good else 'bad'}>{text}"
    yield "</tfoot></table></div>"


def _wrongs(run: Run) -> Iterator[str]:
    """Yield the failures, by testee, folded if there are many."""
    is_open = " open" * (sum(len(_wrong(outcome)) for outcome in run.outcomes) <= OPEN_FAILURES)
    for outcome in run.outcomes:
        articles = [f"<article>{escape(fault)}</article>" for fault in outcome.faults]
        articles += [_article(outcome, result) for result in _wrong(outcome)]
        if articles:
            yield f"<details{is_open}><summary>{outcome.testee.name}: {len(articles)}</summary>"
            yield f"{''.join(articles)}</details>"


def _rows(rows: Sequence[Checked]) -> Iterator[str]:
    """Yield our own tables, each folded if all its rows passed."""
    if rows:
        yield "<h2>What Autobahn doesn’t try</h2>"
    for title, in_file in groupby(rows, key=lambda row: row.title):
        found = list(in_file)
        passed = sum(row.passed for row in found)
        kind, is_open = ("good", "") if passed == len(found) else ("bad", " open")
        yield (
            f"<details{is_open}><summary>{escape(title)}"
            f" <b class={kind}>{passed} of {len(found)}</b></summary>"
            "<div class=scroll><table class=rows>"
            "<thead><tr><th>Clause<th>It says<th>What is sent<th>What must come back"
        )
        for table, in_table in groupby(found, key=lambda row: row.table):
            yield f"<tbody><tr><th colspan=4>{escape(table)}"
            for row in in_table:
                sent, back = (
                    "<br>".join(f"<code>{escape(line)}</code>" for line in lines)
                    for lines in (row.sent, row.back)
                )
                verdict = f"<p class=bad>{escape(row.verdict)}" if row.verdict else ""
                yield (
                    f"<tr{' class=bad' * bool(row.verdict)}><th><a href={row.link}>"
                    f"{escape(row.clause)}</a><td>{escape(row.quote)}<td>{sent}<td>{back}{verdict}"
                )
        yield "</table></div></details>"


def _article(outcome: Outcome, result: Result) -> str:
    name, case = outcome.testee.name, result.case
    link = f"<a href={result.page}>Autobahn’s page</a>" if result.page else ""
    closing = f", closing {result.closing}" if result.closing else ""
    rows = "".join(
        f"<dt>{label}<dd class={'prose' if label in ('case', 'verdict') else 'data'}>{escape(text)}"
        for label, text in (
            ("case", result.about),
            ("expected", result.expected),
            ("received", result.received),
            ("verdict", result.verdict),
        )
        if text
    )
    return (
        f"<article id={name}-{case}><h3>{name} {case} <span>{result.behavior}{closing}</span>"
        f"{link}</h3><dl>{rows}</dl></article>"
    )


def _times(run: Run) -> Iterator[str]:
    outcomes = [outcome for outcome in run.outcomes if _count(outcome, 9)[1]]
    if not outcomes:
        return
    yield "<h2 id=times>Section 9: how long it took</h2>"
    yield "<p class=soft>Milliseconds, the suite’s own work included. A bar is relative to the"
    yield "longest of its group."
    yield f"<div class=scroll><table class=times>{_head(outcomes, '')}"
    for group, (title, sizes) in PERFORMANCE.items():
        cases = select(group)
        found = [outcome.results[c] for outcome in outcomes for c in cases if c in outcome.results]
        if not found:
            continue
        longest = max(1, *(result.milliseconds for result in found))
        yield f"<tbody><tr><th colspan={len(outcomes) + 1}>{title}"
        for case, size in zip(cases, sizes.split(", ")):
            yield f"<tr><th><span class=number>{case}</span>{size}"
            for outcome in outcomes:
                result = outcome.results.get(case)
                if result is None or not result.page:
                    yield "<td class=none>–"
                else:
                    part = f"{100 * result.milliseconds / longest:.0f}%"
                    link = f"<a href={result.page}>{result.milliseconds:,}</a>"
                    yield f'<td style="--part:{part}">{link}'
    yield "</table></div>"


def _cases(run: Run, number: int) -> Iterator[str]:
    outcomes = [outcome for outcome in run.outcomes if _count(outcome, number)[1]]
    yield f"<details><summary>{number} {SECTIONS[number]}</summary><div id=section-{number}>"
    for outcome in outcomes:
        yield f"<div class=cases><b>{outcome.testee.name}</b><div>"
        for case in outcome.cases:
            result = outcome.results[case]
            if section(case) != number:
                continue
            kind = "bad" if not result.passed else "info" if case in INFORMATIONAL else "good"
            href = f" href={result.page}" if result.page else ""
            yield f"<a class={kind}{href} title='{result.milliseconds} ms'>{case}</a>"
        yield "</div></div>"
    yield "</div></details>"

"""The results of cases, of rows of our own tables, and of testees."""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass, field
from typing import Any

from conformance.cases import passes
from conformance.testees import Testee


@dataclass
class Result:
    """The result of a case."""

    case: str
    behavior: str = "MISSING"
    closing: str = ""
    milliseconds: int = 0
    expected: str = ""
    received: str = ""
    verdict: str = ""
    about: str = ""
    page: str = ""
    """Autobahn's page about it, relative to the report folder."""

    @property
    def passed(self) -> bool:
        return passes(self.case, self.behavior, self.closing)

    def __str__(self) -> str:
        text = f"{self.behavior}, closing {self.closing}" if self.closing else self.behavior
        for name in ("expected", "received", "verdict"):
            if getattr(self, name):
                text += f"\n{name:>9}: {getattr(self, name)}"
        return text


@dataclass
class Checked:
    """The result of a row of our own tables."""

    title: str
    """Of its file."""
    table: str
    clause: str
    """The RFC and the section."""
    quote: str
    sent: list[str]
    back: list[str]
    """The bytes sent and the answers expected, in readable lines."""
    verdict: str
    """The reason of the failure; empty if it passed."""

    @property
    def passed(self) -> bool:
        return not self.verdict

    @property
    def link(self) -> str:
        """The address of the clause."""
        rfc, _, number = self.clause.partition(" §")
        return f"https://www.rfc-editor.org/rfc/rfc{rfc}#section-{number}"


@dataclass
class Outcome:
    """The results of a testee."""

    testee: Testee
    cases: list[str]
    """The cases that were selected."""
    results: dict[str, Result] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    """Failures of the server or of the run, besides those of cases."""
    seconds: float = 0.0
    done: int = 0
    """The number of cases begun so far."""

    def note(self, fault: str) -> None:
        """Add a fault, once."""
        if fault not in self.faults:
            self.faults.append(fault)

    @property
    def passed(self) -> int:
        return sum(result.passed for result in self.results.values())

    @property
    def good(self) -> bool:
        return self.passed == len(self.cases) and not self.faults


def read_result(case: str, report: dict[str, Any]) -> Result:
    """Return the result in the report of a case."""
    verdict = report["result"] if report["behavior"] != "OK" else ""
    if report["behaviorClose"] != "OK":
        verdict = f"{verdict} {report['resultClose']}".strip()
    return Result(
        case,
        report["behavior"],
        report["behaviorClose"],
        report["duration"],
        f"{shorten(report['expected'])}, then {_closing(report['expectedClose'])}",
        f"{shorten(report['received'])}, then close {report['remoteCloseCode'] or '(none)'}",
        verdict,
        html.unescape(re.sub("<.*", "", report["description"], flags=re.DOTALL).strip()),
    )


def _closing(expected: dict[str, Any]) -> str:
    who = "the suite" if expected["closedByMe"] else "the server"
    text = f"close {' or '.join(map(str, expected['closeCode']))} by {who}"
    return text + (", cleanly" if expected["requireClean"] else "")


def shorten(value: Any) -> str:
    """Return JSON of a value, long strings in it cut."""
    if isinstance(value, str) and len(value) > 100:
        return json.dumps(f"{value[:80]}… ({len(value)} characters)", ensure_ascii=False)
    if isinstance(value, list):
        items = [shorten(item) for item in value[:8]] + ["…"] * (len(value) > 8)
        return f"[{', '.join(items)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {shorten(item)}' for key, item in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)

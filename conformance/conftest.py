"""pytest's side of the harness: options, the one run of the suite, progress, the report."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest

from conformance import report
from conformance.cases import section
from conformance.harness import Run
from conformance.image import HarnessError
from conformance.testees import TESTEES

REPORTS = Path(__file__).parent / "reports"
SLOW_SECTIONS = {9, 12, 13}
RUN = pytest.StashKey[Run]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--fast", action="store_true", help="leave out sections 9, 12 and 13")
    group.addoption(
        "--testee",
        action="append",
        choices=[*TESTEES, "all"],
        help="a server to test, may be repeated; default: "
        + ", ".join(name for name, testee in TESTEES.items() if testee.default),
    )
    # While a client waits for our server, another can use its processor: one more than there are.
    workers = (os.cpu_count() or 1) + 1
    group.addoption("--workers", type=int, default=workers, metavar="N", help="shards at a time")
    group.addoption("--limit", type=int, metavar="SECONDS", help="for one shard")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make the tests: each case of each testee, and each testee."""
    wanted = metafunc.config.getoption("testee")
    testees = [
        testee
        for testee in TESTEES.values()
        if (testee.name in wanted or "all" in wanted if wanted else testee.default)
    ]
    if "case" in metafunc.fixturenames:
        slow = set() if not metafunc.config.getoption("fast") else SLOW_SECTIONS
        pairs = [
            pytest.param(testee.name, case, id=f"{testee.name}-{case}")
            for testee in testees
            for case in testee.cases
            if section(case) not in slow
        ]
        metafunc.parametrize(("testee", "case"), pairs)
    elif "testee" in metafunc.fixturenames:
        metafunc.parametrize("testee", [testee.name for testee in testees])


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Run all cases that were selected, before the tests look at the results."""
    cases: dict[str, list[str]] = {}
    for item in session.items:
        callspec = getattr(item, "callspec", None)
        if callspec and {"testee", "case"} <= callspec.params.keys():
            cases.setdefault(callspec.params["testee"], []).append(callspec.params["case"])
    option = session.config.option
    if not cases or option.collectonly:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    # The last report stays until this one is whole.
    with tempfile.TemporaryDirectory(prefix="reports-", dir=REPORTS.parent) as folder:
        run = Run(cases, Path(folder, "new"), limit=option.limit, workers=option.workers)
        with capture.global_and_fixture_disabled():
            _execute(run)
        report.write(run, run.folder)
        shutil.rmtree(REPORTS, ignore_errors=True)
        run.folder.rename(REPORTS)
    session.config.stash[RUN] = run


def _execute(run: Run) -> None:
    progress = Progress(run)
    try:
        run.execute(progress.say, progress.tick)
    except HarnessError as error:
        raise pytest.UsageError(f"conformance: {error}")
    finally:
        progress.clear()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, and where the page is."""
    run = terminalreporter.config.stash.get(RUN, None)
    if run:
        terminalreporter.section("Autobahn")
        terminalreporter.write_line(report.table(run))
        page = os.path.relpath(REPORTS / "index.html")
        terminalreporter.write_line(f"\n{page}, {run.seconds:.0f} s in all, {run.suite}")


@pytest.fixture(scope="session")
def run(pytestconfig: pytest.Config) -> Run:
    """The run; there is none if no case is selected."""
    found = pytestconfig.stash.get(RUN, None)
    return found or pytest.skip("no case was run")


class Progress:
    """A bar for each testee on a terminal; else a line for each shard that is done."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.drawn = 0
        self.begun = time.monotonic()
        print()

    def say(self, text: str) -> None:
        self.clear()
        print(text, flush=True)

    def clear(self) -> None:
        if self.drawn:
            print(f"\x1b[{self.drawn}A\x1b[J", end="", flush=True)
            self.drawn = 0

    def tick(self, text: str) -> None:
        if not self.live:
            if text:
                print(f"{self._elapsed()}  {text}", flush=True)
            return
        lines = []
        for outcome in self.run.outcomes:
            total = len(outcome.cases)
            filled = 30 * outcome.done // total
            wrong = len(outcome.results) - outcome.passed
            lines.append(
                f"  {outcome.testee.name:<15}{'█' * filled}{'░' * (30 - filled)}"
                f"{outcome.done:>5} of {total}" + (f", {wrong} wrong" if wrong else "")
            )
        self.clear()
        print(*lines, self._elapsed(), sep="\n", flush=True)
        self.drawn = len(lines) + 1

    def _elapsed(self) -> str:
        return "{:>3}:{:02}".format(*divmod(int(time.monotonic() - self.begun), 60))

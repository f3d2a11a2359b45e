"""The harness in pytest: options, one run of the suite, our own tables, and the report."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Iterator

import pytest

from conformance import report
from conformance.cases import section
from conformance.harness import CASE_SECONDS, Run
from conformance.progress import Progress
from conformance.results import Checked, Outcome
from conformance.server import HarnessError, Serve, Server
from conformance.testees import OURS
from conformance.wire import Row, describe
from tests.support import ROOT

REPORTS = Path(__file__).parent / "reports"
BADGE = ROOT / "docs/badge.svg"
SLOW_SECTIONS = {9, 12, 13}
DEFAULT = [name for name, testee in OURS.items() if testee.default]
RUN = pytest.StashKey[Run]()
ROWS = pytest.StashKey[list[Checked]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--fast", action="store_true", help="leave out sections 9, 12 and 13")
    group.addoption(
        "--testee",
        action="append",
        choices=[*OURS, "all"],
        help=f"a server to test, may be repeated; default: {', '.join(DEFAULT)}",
    )
    # One more than there are processors: while a client waits for a server, another can run.
    workers = (os.cpu_count() or 1) + 1
    group.addoption("--workers", type=int, default=workers, metavar="N", help="shards at a time")
    group.addoption(
        "--limit", type=float, default=CASE_SECONDS, metavar="SECONDS", help="for one case"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make the tests: each case of each testee, and each testee."""
    wanted = metafunc.config.getoption("testee") or DEFAULT
    testees = [OURS[name] for name in (OURS if "all" in wanted else wanted)]
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
    """Run the selected cases, before the tests check the results."""
    cases: dict[str, list[str]] = {}
    for item in session.items:
        callspec = getattr(item, "callspec", None)
        if callspec and {"testee", "case"} <= callspec.params.keys():
            cases.setdefault(callspec.params["testee"], []).append(callspec.params["case"])
    config = session.config
    if config.option.collectonly:
        return
    # The last report stays until this one is complete.
    folder = tempfile.TemporaryDirectory(prefix="reports-", dir=REPORTS.parent)
    config.add_cleanup(folder.cleanup)
    run = Run(
        [Outcome(OURS[name], wanted) for name, wanted in cases.items()],
        Path(folder.name, "new"),
        limit=config.option.limit,
        workers=config.option.workers,
    )
    if cases:
        capture = config.pluginmanager.getplugin("capturemanager")
        try:
            with capture.global_and_fixture_disabled():
                Progress(run).execute()
        except HarnessError as error:
            raise pytest.UsageError(f"conformance: {error}")
    config.stash[RUN] = run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    """Collect the result of each row of our own tables."""
    result = yield
    row = item.callspec.params.get("row") if hasattr(item, "callspec") else None
    if isinstance(item, pytest.Function) and isinstance(row, Row) and call.when == "call":
        verdict = call.excinfo.exconly().splitlines()[0] if call.excinfo else ""
        title, _, _ = item.module.__doc__.partition("\n")
        checked = Checked(
            title.rstrip("."),
            item.function.__doc__,
            row.clause,
            row.quote,
            describe(row.sent),
            ["none" if back is None else str(back) or '""' for back in row.back] or ["nothing"],
            verdict,
        )
        item.config.stash[ROWS].append(checked)
    return result


@pytest.hookimpl(tryfirst=True)  # JUnit's file goes into the folder that is made anew here
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report."""
    run, rows = session.config.stash.get(RUN, None), session.config.stash[ROWS]
    if not run or not (run.outcomes or rows):
        return
    rows.sort(key=lambda row: row.title)  # which is by RFC and section
    run.folder.mkdir(exist_ok=True)
    report.write(run, rows)
    shutil.rmtree(REPORTS, ignore_errors=True)
    run.folder.rename(REPORTS)
    if run.outcomes:
        badge = REPORTS / "badge.svg"
        badge.write_text(report.badge(run), encoding="utf-8")
        if {o.testee.name: o.cases for o in run.outcomes} == {n: OURS[n].cases for n in DEFAULT}:
            shutil.copy(badge, BADGE)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of cases, a line for each of our own tables, and the path of the page."""
    config = terminalreporter.config
    run, rows = config.stash.get(RUN, None), config.stash[ROWS]
    if not run or not (run.outcomes or rows):
        return
    if run.outcomes:
        terminalreporter.section("Autobahn")
        terminalreporter.write_line(report.table(run))
        terminalreporter.write_line(f"\n{run.seconds:.0f} s, {run.suite}")
    if rows:
        terminalreporter.section("Own tables")
        terminalreporter.write_line(report.rows_table(rows))
    terminalreporter.write_line(f"\n{os.path.relpath(REPORTS / 'index.html')}")


@pytest.fixture(scope="session")
def run(pytestconfig: pytest.Config) -> Run:
    """The run; there is none if no case is selected."""
    found = pytestconfig.stash.get(RUN, None)
    return found if found and found.outcomes else pytest.skip("no case was run")


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Give our echo server with these options, a process of its own; each is started once."""
    servers: dict[str, Server] = {}
    folder = tmp_path_factory.mktemp("servers")

    def start(options: str) -> Server:
        if options not in servers:
            log = folder / f"{len(servers)}.log"
            servers[options] = Server(f"conformance.echo {options}", log)
        return servers[options]

    yield start
    faults = {options: server.stop() for options, server in servers.items()}
    assert not any(faults.values()), faults

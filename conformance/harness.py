"""Run the suite against the testees: start servers, run shards side by side, collect results.

wstest isn't trusted: its exit code means nothing, and a case that it calls OK counts only if the
server was the same live process throughout.
"""

from __future__ import annotations

import json
import queue
import shutil
import signal
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Iterator

from docker.errors import DockerException
from requests.exceptions import RequestException

from conformance.cases import section
from conformance.client import Client
from conformance.engine import Say
from conformance.results import Outcome, Result, read_result
from conformance.server import HarnessError, Server
from conformance.suite import Job, Suite, find_suite

CASE_SECONDS = 300
"""A case that takes longer is given up: more than any needs on a slow and busy machine."""
MAX_HANGS = 3
"""After this many cases of a shard that hang, the rest of it is given up."""


@dataclass
class Shard:
    """Some cases of one testee, for one wstest process."""

    outcome: Outcome
    name: str
    cases: list[str]
    cost: float
    """Estimated seconds; the longest shards start first."""


_COSTLY = {"12.3": 10.0, "12.2": 8.0, "12.5": 5.0, "13.5": 4.0, "13.7": 4.0, "13.3": 4.0}


def _shard_of(case: str) -> tuple[str, float]:
    """Return the shard of a case, and its estimated seconds."""
    number = section(case)
    if number >= 12:
        group = case.rpartition(".")[0]
        return group, _COSTLY.get(group, 2.5)
    return ("9", 0.3) if number == 9 else ("1-10", 0.05)


def make_shards(outcomes: list[Outcome]) -> list[Shard]:
    """Divide all cases into shards, the longest first."""
    shards = []
    for outcome in outcomes:
        cases = sorted(outcome.cases, key=_shard_of)
        for (name, cost), group in groupby(cases, key=_shard_of):
            part = list(group)
            shards.append(Shard(outcome, name, part, cost * len(part)))
    return sorted(shards, key=lambda shard: -shard.cost)


class Attempt:
    """A wstest process that runs a shard."""

    def __init__(self, job: Job, limit: float) -> None:
        self.job = job
        self.limit = limit
        """Seconds for one case."""
        self.case = ""
        self.deadline = time.monotonic() + limit
        self.expired = False

    def begin(self, case: str) -> None:
        self.case = case
        self.deadline = time.monotonic() + self.limit

    def check(self) -> None:
        """End it if its case takes too long."""
        if time.monotonic() > self.deadline and not self.expired:
            self.expired = True
            self.job.kill()


class Run:
    """A run of some cases of some testees."""

    def __init__(
        self,
        outcomes: list[Outcome],
        folder: Path,
        *,
        limit: float = CASE_SECONDS,
        workers: int,
    ):
        self.outcomes = outcomes
        self.folder = folder
        """The folder for the reports, which doesn't exist yet."""
        self.limit = limit
        """Seconds for one case."""
        self.workers = workers
        self.seconds = 0.0
        self.suite = ""
        self.finished: queue.SimpleQueue[str] = queue.SimpleQueue()
        """A line for each shard that has finished."""
        self._servers: dict[str, Server] = {}
        self._attempts: set[Attempt] = set()
        self._lock = threading.Lock()
        self._cancelled = False

    @property
    def good(self) -> bool:
        return all(outcome.good for outcome in self.outcomes)

    def execute(self, say: Say, tick: Say) -> None:
        """Run everything.

        Args:
            say: Called with a line about the preparations.
            tick: Called several times a second, with a line about a finished shard or "".
        """
        begun = time.monotonic()
        with sigterm_interrupts(), ExitStack() as stack:
            suite = stack.enter_context(find_suite(say))
            self.suite = suite.title
            say(f"Autobahn: {suite.title}, {self.workers} side by side")
            for outcome in self.outcomes:
                (self.folder / outcome.testee.name).mkdir(parents=True)
                if not outcome.testee.scheme:
                    self._start_server(outcome)
                    stack.callback(self._stop_server, outcome)
            pool = stack.enter_context(ThreadPoolExecutor(self.workers))
            stack.callback(self._cancel)
            shards = make_shards(self.outcomes)
            pending: set[Future[None]] = {
                pool.submit(self._run_shard, suite, shard) for shard in shards
            }
            while pending:
                done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    try:
                        future.result()
                    except (DockerException, RequestException) as error:
                        raise HarnessError(f"Docker fails, see whether it runs well: {error}")
                with self._lock:
                    attempts = list(self._attempts)
                for attempt in attempts:
                    attempt.check()
                while not self.finished.empty():
                    tick(self.finished.get())
                tick("")
        for outcome in self.outcomes:
            for case in outcome.cases:
                outcome.results.setdefault(case, Result(case, verdict="it wasn't run"))
        self.seconds = time.monotonic() - begun

    def _cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            attempts = list(self._attempts)
        for attempt in attempts:
            attempt.job.kill()

    def _start_server(self, outcome: Outcome) -> None:
        testee = outcome.testee
        log = self.folder / testee.name / "server.log"
        self._servers[testee.name] = Server(testee.command, log)

    def _stop_server(self, outcome: Outcome) -> None:
        fault = self._servers[outcome.testee.name].stop()
        if fault and not outcome.faults:
            outcome.faults.append(fault)

    def _healthy_server(self, outcome: Outcome) -> Server:
        """Return the testee's server; if it has failed, note that and start a new one."""
        with self._lock:
            server = self._servers[outcome.testee.name]
            fault = server.fault()
            if fault:
                outcome.note(fault)
                server.stop()
                self._start_server(outcome)
            return self._servers[outcome.testee.name]

    def _run_shard(self, suite: Suite, shard: Shard) -> None:
        begun = time.monotonic()
        outcome, rest = shard.outcome, shard.cases
        hung = 0
        while rest and not self._cancelled:
            fault, hanging = self._attempt(suite, shard, rest)
            if self._cancelled:
                return
            if hanging and hung < MAX_HANGS:  # other testees may still run
                hung += 1
                self._fail(outcome, [hanging], fault)
                rest = [case for case in rest if case != hanging]
            else:
                if fault:
                    self._fail(outcome, rest, fault)
                break
        seconds = time.monotonic() - begun
        outcome.seconds += seconds
        passed = sum(outcome.results[case].passed for case in shard.cases)
        faults = {outcome.results[case].verdict for case in shard.cases} & set(outcome.faults)
        self.finished.put(
            f"{outcome.testee.name} {shard.name}: {passed} of {len(shard.cases)} as they should be,"
            f" {seconds:.0f} s" + "".join(f" ({fault})" for fault in faults)
        )

    def _attempt(self, suite: Suite, shard: Shard, cases: list[str]) -> tuple[str, str]:
        """Run these cases of a shard; return the fault and the case that hangs, or ""."""
        outcome = shard.outcome
        name = outcome.testee.name
        folder = self.folder / name / f"shard-{shard.name}"
        folder.mkdir(exist_ok=True)
        server: Server | Client
        if outcome.testee.scheme:
            server = Client(outcome.testee, cases, folder)
            spec: dict[str, Any] = server.spec
        else:
            server = self._healthy_server(outcome)
            spec = {"servers": [{"agent": name, "url": server.url(suite.host)}]}
        spec.update({"outdir": ".", "cases": cases, "exclude-cases": [], "exclude-agent-cases": {}})
        (folder / "spec.json").write_text(json.dumps(spec))
        mode = "fuzzingserver" if outcome.testee.scheme else "fuzzingclient"
        attempt = Attempt(suite.start(folder, len(cases) * self.limit, mode), self.limit)
        with self._lock:
            self._attempts.add(attempt)
            cancelled = self._cancelled
        if cancelled:
            attempt.job.kill()
        done, last = 0, ""
        if isinstance(server, Client):
            server.start(attempt.job)
        try:
            with (folder / "wstest.log").open("a") as log:
                for line in attempt.job.lines():
                    print(line, file=log, flush=True)
                    last = line.strip() or last
                    if line.startswith("Running test case ID "):
                        attempt.begin(line.split()[4])
                        done += 1
                        outcome.done += 1
        finally:
            attempt.job.kill()
            if isinstance(server, Client):
                server.stop()
            with self._lock:
                self._attempts.discard(attempt)
        if attempt.expired:
            outcome.done -= done
            where = f"case {attempt.case}" if attempt.case else "its first handshake"
            return f"{where} took over {self.limit:.0f} s and was given up", attempt.case
        fault = server.fault()
        if not fault and not (folder / "index.json").exists():
            fault = f"wstest ended without a report, in case {attempt.case or '(none)'}: {last}"
        if not fault:
            self._collect(outcome, cases, folder)
            if isinstance(server, Client) and server.complaint():
                outcome.note(server.complaint())
        return fault, ""

    def _fail(self, outcome: Outcome, cases: list[str], fault: str) -> None:
        outcome.note(fault)
        for case in cases:
            outcome.results[case] = Result(case, verdict=fault)

    def _collect(self, outcome: Outcome, cases: list[str], folder: Path) -> None:
        """Add the results and pages of a shard to the testee's."""
        name = outcome.testee.name
        index = json.loads((folder / "index.json").read_text()).get(name, {})
        for case in cases:
            if case not in index:
                result = Result(case, verdict="the suite's report lacks it")
            else:
                report = folder / index[case]["reportfile"]
                result = read_result(case, json.loads(report.read_text()))
                for path in (report, report.with_suffix(".html")):
                    path.rename(folder.parent / path.name)
                result.page = f"{name}/{report.with_suffix('.html').name}"
            outcome.results[case] = result
        shutil.rmtree(folder)


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Make SIGTERM raise KeyboardInterrupt, so that servers and containers are stopped."""

    def interrupt(signum: int, frame: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)

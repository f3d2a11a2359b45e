"""Run the suite against the testees: servers, shards side by side, results.

Nothing that wstest says of itself is trusted: not its exit code, and not that a case is OK if the
server wasn't the same live process throughout.
"""

from __future__ import annotations

import http.client
import json
import queue
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Iterator
from urllib.parse import urlsplit

from docker.errors import DockerException
from requests.exceptions import RequestException

from conformance.cases import section
from conformance.image import HarnessError, Say
from conformance.results import Outcome, Result, read_result
from conformance.suite import Job, Suite, find_suite
from conformance.testees import TESTEES, Testee

ROOT = Path(__file__).parent.parent
START_SECONDS = 15
"""In which a server must serve, and later end."""


class Server:
    """A testee's process."""

    def __init__(self, testee: Testee, log: Path) -> None:
        self.log = log
        with log.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "conformance.testees", testee.name],
                cwd=ROOT,
                stdin=subprocess.PIPE,  # it ends when we do, however that comes about
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,  # Ctrl-C is for us
            )
        assert self.process.stdout
        url = self.process.stdout.readline()
        if not url:
            self.process.wait()
            raise HarnessError(f"The server {testee.name!r} doesn't start: {self._last_words()}")
        self.scheme, self.port = urlsplit(url).scheme, urlsplit(url).port

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it logged nothing"

    def fault(self) -> str:
        """Return why it can't go on, or nothing: it must live, and answer."""
        if self.process.poll() is not None:
            return f"the server died, exit code {self.process.returncode}: {self._last_words()}"
        if self.scheme == "wss":
            context = ssl._create_unverified_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "127.0.0.1", self.port, timeout=START_SECONDS, context=context
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
        try:
            connection.request("GET", "/")
            status = connection.getresponse().status
        except OSError as error:
            return f"the server no longer answers: {error}"
        finally:
            connection.close()
        return "" if status == 426 else f"the server answers a plain request with {status}, not 426"

    def stop(self) -> str:
        """End it; return what is wrong with that, or nothing."""
        assert self.process.stdin and self.process.stdout
        fault = ""
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            if self.process.wait(START_SECONDS):
                fault = f"the server ended with exit code {self.process.returncode}"
        except subprocess.TimeoutExpired:
            fault = f"the server didn't end within {START_SECONDS} s"
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
        if "Traceback" in self.log.read_text(errors="replace"):
            fault = fault or f"the server logged an exception: {self._last_words()}"
        return fault


@dataclass
class Shard:
    """Some cases of one testee, for one wstest process."""

    outcome: Outcome
    name: str
    cases: list[str]
    cost: float
    """A guess in seconds, to begin with the longest."""

    @property
    def limit(self) -> int:
        """Seconds after which a case in it must hang, on the slowest machine."""
        return 60 + int(5 * self.cost)


_COSTLY = {"12.3": 10.0, "12.2": 8.0, "12.5": 5.0, "13.5": 4.0, "13.7": 4.0, "13.3": 4.0}


def _shard_of(case: str) -> tuple[str, float]:
    """Return the shard that a case goes to, and what it costs there, roughly, in seconds."""
    number = section(case)
    if number >= 12:
        group = case.rpartition(".")[0]
        return group, _COSTLY.get(group, 2.5)
    return ("9", 0.3) if number == 9 else ("1-10", 0.05)


def make_shards(outcomes: list[Outcome]) -> list[Shard]:
    """Divide all the cases; the longest shards come first."""
    shards = []
    for outcome in outcomes:
        cases = sorted(outcome.cases, key=_shard_of)
        for (name, cost), group in groupby(cases, key=_shard_of):
            part = list(group)
            shards.append(Shard(outcome, name, part, cost * len(part)))
    return sorted(shards, key=lambda shard: -shard.cost)


class Run:
    """A run of some cases of some testees."""

    def __init__(
        self, cases: dict[str, list[str]], folder: Path, *, limit: int | None, workers: int
    ):
        self.outcomes = [Outcome(TESTEES[name], wanted) for name, wanted in cases.items()]
        self.folder = folder
        """Where the reports go; it doesn't exist yet."""
        self.limit = limit
        """Seconds for a shard, in place of its own."""
        self.workers = workers
        self.servers: dict[str, Server] = {}
        self.seconds = 0.0
        self.suite = ""
        self.finished: queue.SimpleQueue[str] = queue.SimpleQueue()
        """A line for each shard."""
        self._jobs: set[Job] = set()
        self._lock = threading.Lock()
        self._cancelled = False

    @property
    def good(self) -> bool:
        return all(outcome.good for outcome in self.outcomes)

    def execute(self, say: Say, tick: Say) -> None:
        """Run everything; ``tick`` gets a line or nothing, several times a second."""
        begun = time.monotonic()
        with sigterm_interrupts():
            suite = find_suite(say)
            self.suite = suite.title
            say(f"Autobahn: {suite.title}, {self.workers} side by side")
            with ExitStack() as stack:
                for outcome in self.outcomes:
                    folder = self.folder / outcome.testee.name
                    folder.mkdir(parents=True)
                    server = Server(outcome.testee, folder / "server.log")
                    self.servers[outcome.testee.name] = server
                    stack.callback(self._stop_server, outcome, server)
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
            jobs = list(self._jobs)
        for job in jobs:
            job.kill()

    def _stop_server(self, outcome: Outcome, server: Server) -> None:
        fault = server.stop()
        if fault and not outcome.faults:
            outcome.faults.append(fault)

    def _run_shard(self, suite: Suite, shard: Shard) -> None:
        if self._cancelled:
            return
        outcome, name = shard.outcome, shard.outcome.testee.name
        server = self.servers[name]
        fault = server.fault()
        if fault:
            self._fail(shard, fault)
            return
        begun = time.monotonic()
        folder = self.folder / name / f"shard-{shard.name}"
        folder.mkdir()
        url = f"{server.scheme}://{suite.host}:{server.port}"
        spec = {
            "outdir": ".",
            "servers": [{"agent": name, "url": url}],
            "cases": shard.cases,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        (folder / "spec.json").write_text(json.dumps(spec))
        fault = self._run_job(suite, shard, folder) or server.fault()
        if self._cancelled:
            return
        if fault:
            self._fail(shard, fault)
        else:
            self._collect(shard, folder)
        seconds = time.monotonic() - begun
        outcome.seconds += seconds
        passed = sum(outcome.results[case].passed for case in shard.cases)
        self.finished.put(
            f"{name} {shard.name}: {passed} of {len(shard.cases)} as they should be,"
            f" {seconds:.0f} s" + (f" ({fault})" if fault else "")
        )

    def _run_job(self, suite: Suite, shard: Shard, folder: Path) -> str:
        """Return what went wrong, or nothing."""
        limit = self.limit or shard.limit
        job = suite.start(folder, limit)
        with self._lock:
            self._jobs.add(job)
            cancelled = self._cancelled
        if cancelled:
            job.kill()
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            job.kill()

        clock = threading.Timer(limit, expire)
        clock.start()
        case, last = "", ""
        try:
            with (folder / "wstest.log").open("w") as log:
                for line in job.lines():
                    print(line, file=log)
                    last = line.strip() or last
                    if line.startswith("Running test case ID "):
                        case = line.split()[4]
                        shard.outcome.done += 1
        finally:
            clock.cancel()
            job.kill()
            with self._lock:
                self._jobs.discard(job)
        if expired.is_set():
            return (
                f"the suite was stopped after {limit} s in case {case or '(none)'}:"
                " run that alone with -k, or allow more with --limit"
            )
        if not (folder / "index.json").exists():
            return f"wstest ended without a report, in case {case or '(none)'}: {last}"
        return ""

    def _fail(self, shard: Shard, fault: str) -> None:
        if fault not in shard.outcome.faults:
            shard.outcome.faults.append(fault)
        for case in shard.cases:
            shard.outcome.results[case] = Result(case, verdict=fault)

    def _collect(self, shard: Shard, folder: Path) -> None:
        """Take over the results and pages of a shard."""
        name = shard.outcome.testee.name
        index = json.loads((folder / "index.json").read_text()).get(name, {})
        for case in shard.cases:
            if case not in index:
                result = Result(case, verdict="the suite's report lacks it")
            else:
                report = folder / index[case]["reportfile"]
                result = read_result(case, json.loads(report.read_text()))
                for path in (report, report.with_suffix(".html")):
                    path.rename(folder.parent / path.name)
                result.page = f"{name}/{report.with_suffix('.html').name}"
            shard.outcome.results[case] = result
        shutil.rmtree(folder)


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM end us as Ctrl-C does, so that nothing is left behind."""

    def interrupt(signum: int, frame: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)

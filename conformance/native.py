"""Run the Autobahn suite, without compression, against the echo server: 301 cases.

``python3 conformance/native.py``: needs a Python 2.7 for the suite, which it installs into an
environment of its own. The exit code is 0 only if all cases came out as they should.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SUITE = "autobahntestsuite==25.10.1"
SECTIONS = {
    1: "framing",
    2: "pings and pongs",
    3: "reserved bits",
    4: "opcodes",
    5: "fragmentation",
    6: "UTF-8",
    7: "closing",
    9: "limits and performance",
    10: "auto-fragmentation",
}
CASES = 301
INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}
"""Cases that the suite doesn't judge; all others must be OK."""
WALL_SECONDS = 300
AGENT = "ws"


def find_python27() -> str | None:
    """Return a Python 2.7 that runs, from the PATH or from pyenv."""
    candidates = [shutil.which("python2.7")]
    try:
        root = subprocess.check_output(["pyenv", "root"]).decode().strip()
        versions = Path(root, "versions").glob("2.7*/bin/python2.7")
        candidates += sorted(map(str, versions), reverse=True)
    except (OSError, subprocess.CalledProcessError):
        pass
    for candidate in candidates:
        if candidate and not subprocess.call([candidate, "-c", ""], stderr=subprocess.DEVNULL):
            return candidate
    return None


def install_suite(python27: str, folder: Path) -> Path:
    """Return the path of wstest, in an environment that is made on first use."""
    wstest = folder / "suite" / "bin" / "wstest"
    stamp = folder / "suite" / SUITE
    if stamp.exists():
        return wstest
    print(f"Installing {SUITE} for {python27}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    tool = folder / "tool"
    for command in (
        [sys.executable, "-m", "venv", str(tool)],
        [str(tool / "bin" / "pip"), "install", "--quiet", "virtualenv<20.22"],
        [str(tool / "bin" / "virtualenv"), "--quiet", "-p", python27, str(folder / "suite")],
        [str(wstest.parent / "python"), "-m", "pip", "install", "--quiet", SUITE],
    ):
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        if done.returncode:
            sys.stdout.write(done.stdout.decode(errors="replace"))
            raise SystemExit(f"conformance: failed: {' '.join(command)}")
    stamp.touch()
    return wstest


def start_server() -> tuple[subprocess.Popen[bytes], int]:
    """Start the echo server; return it once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "ws", str(port), "--host", "127.0.0.1"]
    server = subprocess.Popen(command, cwd=str(ROOT))
    deadline = time.monotonic() + 10
    while not answers(port):
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            raise SystemExit("conformance: the echo server doesn't start")
        time.sleep(0.05)
    return server, port


def answers(port: int) -> bool:
    """Say whether a WebSocket server is there: 426 to a plain request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 426
    except OSError:
        return False
    finally:
        connection.close()


def run_suite(wstest: Path, port: int, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Run all cases; return the report by case, and what went wrong with the run itself."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    spec = {
        "outdir": str(folder),
        "servers": [{"agent": AGENT, "url": f"ws://127.0.0.1:{port}"}],
        "cases": [f"{section}.*" for section in SECTIONS],
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    suite = subprocess.Popen(
        [str(wstest), "-m", "fuzzingclient", "-s", str(folder / "spec.json")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=str(folder),
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    faults = []
    clock = threading.Timer(WALL_SECONDS, suite.kill)
    clock.start()
    with (folder / "wstest.log").open("wb") as log:
        count = 0
        for line in suite.stdout or ():
            log.write(line)
            if line.startswith(b"Running test case ID "):
                count += 1
                if count % 50 == 0 or count == CASES:
                    case = line.split()[4].decode()
                    print(f"  case {count} of {CASES}: {case}", flush=True)
    code = suite.wait()
    if not clock.is_alive():
        faults.append(f"the suite was stopped after {WALL_SECONDS} seconds")
    elif code:
        faults.append(f"wstest ended with exit code {code}")
    clock.cancel()
    try:
        results = json.loads((folder / "index.json").read_text())[AGENT]
    except (OSError, ValueError, KeyError):
        faults.append("there is no report")
        results = {}
    return results, faults


def judge(results: dict[str, Any]) -> dict[str, str]:
    """Return the cases that came out otherwise than they should, each with what is wrong."""
    wrong = {}
    for case, result in results.items():
        grades = result["behavior"], result["behaviorClose"]
        wanted = ("INFORMATIONAL" if case in INFORMATIONAL else "OK",) * 2
        if grades[0] != wanted[0] or grades[1] not in ("OK", wanted[1]):
            wrong[case] = f"{grades[0]}, closing {grades[1]}"
    return wrong


def print_table(results: dict[str, Any], wrong: dict[str, str]) -> None:
    """Print the figures by section."""
    print(f"  {'section':<28}{'cases':>6}{'OK':>6}{'informational':>15}{'wrong':>7}")
    for section, name in SECTIONS.items():
        cases = [case for case in results if case.split(".")[0] == str(section)]
        grades = Counter(results[case]["behavior"] for case in cases if case not in wrong)
        failed = sum(case in wrong for case in cases)
        row = f"{len(cases):>6}{grades['OK']:>6}{grades['INFORMATIONAL']:>15}{failed:>7}"
        print(f"  {section:>2} {name:<25}{row}")


def stop_server(server: subprocess.Popen[bytes], port: int) -> list[str]:
    """End the server; return what is wrong with it."""
    if server.poll() is not None:
        return [f"the server died with exit code {server.returncode}"]
    faults = [] if answers(port) else ["the server no longer answers"]
    server.send_signal(signal.SIGTERM)
    try:
        code = server.wait(10)
        faults += [f"the server ended with exit code {code}"] if code else []
    except subprocess.TimeoutExpired:
        server.kill()
        faults.append("the server doesn't end on SIGTERM")
    return faults


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only look for a Python 2.7")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "conformance")
    arguments = parser.parse_args()
    python27 = find_python27()
    if not python27:
        print("conformance: no Python 2.7, which the Autobahn suite needs, is on PATH or in pyenv")
        return 1
    if arguments.check:
        return 0
    work = arguments.work.resolve()
    wstest = install_suite(python27, work / "installed")
    server, port = start_server()
    try:
        begun = time.monotonic()
        print(f"Running {CASES} Autobahn cases against python -m ws", flush=True)
        results, faults = run_suite(wstest, port, work / "report")
        print(f"  took {time.monotonic() - begun:.0f} s; report: {work / 'report'}/index.html")
        faults += stop_server(server, port)
    finally:
        if server.poll() is None:
            server.kill()
    wrong = judge(results)
    print_table(results, wrong)
    for case, grade in wrong.items():
        print(f"  {case}: {grade}")
    if len(results) != CASES:
        faults.append(f"{len(results)} cases were run, not {CASES}")
    for fault in faults:
        print(f"  {fault}")
    failed = len(wrong) + max(CASES - len(results), 1 if faults else 0)
    print(f"{max(CASES - failed, 0)} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

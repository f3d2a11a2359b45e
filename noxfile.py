"""The project's checks; `nox --list` tells what there is.

`ci/test` sets up all that these need, and runs them;
`nox -s unit-3.11 -- tests/unit/test_frames.py` runs part of one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nox

PYTHONS = [f"3.{minor}" for minor in range(7, 16)]
COVERAGE_PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
"""The version that nox itself runs on, so that coverage is always measured."""
COVERED = (
    *"wire/deflate wire/events wire/frames wire/handshake wire/http11 wire/message".split(),
    *"wire/opening wire/partial wire/protocol wire/proxy engine/backlog engine/budget".split(),
    *"engine/cork engine/limits engine/log engine/outbox engine/overload engine/timers".split(),
    *"engine/writer".split(),
    *"admission auth backplane descriptors lifecycle metrics rooms".split(),
)
"""The modules that need no sockets: all branches of each are covered by its own test files."""

TRUSTME = "trustme==1.2.1"
TEST_TOOLS = (
    "pytest==9.2.0 pytest-timeout==2.4.0 pytest-xdist==3.8.0 hypothesis==6.170.15 " + TRUSTME
)
OLD_TEST_TOOLS = {  # the last for these Pythons
    "3.7": "pytest==7.4.4 pytest-timeout==2.4.0 pytest-xdist==3.5.0 hypothesis==6.79.4 "
    "trustme==1.0.0",
    "3.8": "pytest==8.3.5 pytest-timeout==2.4.0 pytest-xdist==3.6.1 hypothesis==6.113.0 "
    "trustme==1.1.0",
    "3.9": "pytest==8.4.2 pytest-timeout==2.4.0 pytest-xdist==3.8.0 hypothesis==6.141.1 "
    "trustme==1.2.1",
    "3.10": "pytest==9.2.0 pytest-timeout==2.4.0 pytest-xdist==3.8.0 hypothesis==6.168.5 "
    "trustme==1.2.1",
}
FLASK, GUNICORN = "flask==3.1.3", "gunicorn==27.0.1"
FRAMEWORKS = FLASK + " django==5.2.19"
WSGI_SERVERS = GUNICORN + " waitress==3.0.2 cheroot==11.1.2 werkzeug==3.1.9 gevent==26.9.0"
COVERAGE = "coverage==7.17.3"
FAST = "zlib-ng==1.1.0 numpy"
RUFF = "ruff==0.17.6"
DOCKER = "docker==7.2.0"
BROWSER_TOOLS = (  # later Playwrights don't drive Debian's Firefox
    "playwright==1.64.1 pytest-playwright==0.10.0 axe-playwright-python==0.1.8 selenium==4.51.0"
)
PILLOW = "pillow==13.0.0"
MATPLOTLIB = "matplotlib==3.11.2"
BENCH_TOOLS = f"{MATPLOTLIB} psutil==7.2.2 tqdm==4.70.1 {TRUSTME}"
REDIS = "redis==8.1.0"
ATHERIS = "atheris==3.1.0"
OTHER_PROTOCOLS = "wsproto==1.3.2 websockets==17.4"
NOX = "nox"
MYPY = "mypy==2.4.1"
PYRIGHT = "pyright==1.1.414"
BUILD = "build==1.6.1"
HOSTED = (
    f"{FLASK} {GUNICORN} flask-sock==0.7.0 channels==4.3.2 daphne==4.2.3 uvicorn==0.54.0 "
    "websockets==17.4"
)
"""What else gives WebSockets to a web application, and serves it."""

CI = bool(os.environ.get("CI"))
ROOT = Path(__file__).parent
REPORTS = "conformance/reports"
PATIENCE = {"interrupt_timeout": 60.0, "terminate_timeout": 30.0}
"""Seconds after Ctrl-C for sessions that have containers to stop."""
RESULTS = "e2e/results"
BENCH_RESULTS = "bench/results.json"

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "unit", "build"]
nox.options.reuse_existing_virtualenvs = True
os.environ.setdefault("UV_PYTHON_DOWNLOADS", "never")  # test the interpreters that are installed


@nox.session
def lint(session: nox.Session) -> None:
    """Style, format, imports and size."""
    session.install(RUFF)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("python", "ci/check_house.py")
    session.run("python", "ci/check_tests.py")


@nox.session
def types(session: nox.Session) -> None:
    """Types, strictly, and whether users see the type of each public name."""
    session.install(MYPY, PYRIGHT, BUILD, REDIS, *TEST_TOOLS.split())
    session.run("mypy")
    with tempfile.TemporaryDirectory() as folder:  # pyright wants an installed package
        session.install("--force-reinstall", "--no-deps", str(_build(session, folder)))
    session.run("pyright", "--verifytypes", "ws", "--ignoreexternal")


@nox.session(python=PYTHONS)
def unit(session: nox.Session) -> None:
    """All tests on each Python, and the coverage of the modules without sockets on one."""
    session.install(*OLD_TEST_TOOLS.get(str(session.python), TEST_TOOLS).split())
    if session.python == COVERAGE_PYTHON:
        session.install(*FRAMEWORKS.split())
    others = ("attacks", "cluster", "interop", "tools", "wsgi")  # have sessions of their own
    workers = f"-n{2 * (os.cpu_count() or 1)}"  # many tests wait for most of their time
    chosen = session.posargs or [workers, *(f"--ignore=tests/{name}" for name in others)]
    session.run("python", "-m", "pytest", *chosen)
    if session.python == COVERAGE_PYTHON and not session.posargs:
        session.install(COVERAGE, *FAST.split())
        _cover(session)


def _cover(session: nox.Session) -> None:
    """Run the unit tests once. What other files' tests cover of a module doesn't count."""
    env = {"COVERAGE_FILE": str(Path(session.create_tmp()) / "coverage")}
    env["COVERAGE_CORE"] = "ctrace"  # a newer one can't tell whose tests run
    pytest = ("-m", "pytest", "-q", "tests/unit")
    session.run("coverage", "run", "--branch", "--source=ws", *pytest, env=env)
    for module in COVERED:
        own = rf"^$,^tests\.unit\.test_{Path(module).stem}(_|$)"  # "" is while importing
        only = (f"--include=ws/{module}.py", f"--contexts={own}")
        session.run("coverage", "report", "-m", "--fail-under=100", *only, env=env)


@nox.session
def attacks(session: nox.Session) -> None:
    """The threats of docs/threats.md, faults and races: `-- -k bomb`, `-- --write-table`."""
    session.install(*TEST_TOOLS.split(), *OTHER_PROTOCOLS.split())
    if {"--write-table", "--peers"} & set(session.posargs):
        if "--peers" in session.posargs:
            session.install(*BENCH_TOOLS.split())
            _install_peers(session)
        session.run("python", "-m", "tests.attacks.crowds", *session.posargs)
        return
    pytest = ("python", "-m", "pytest", *(session.posargs or ["tests/attacks"]))
    session.run(*_networks(), *pytest, external=True)


def _networks() -> tuple[str, ...]:
    """Return the command that lets another one make network namespaces, where users may do that."""
    unshare = ("unshare", "--map-current-user", "--keep-caps")
    if sys.platform != "linux" or os.geteuid() == 0:
        return ()
    refused = subprocess.call([*unshare, "true"], stderr=subprocess.DEVNULL)
    return () if refused else unshare


@nox.session(default=False)
def defences(session: nox.Session) -> None:
    """Take each defence out of a copy of ws/ and chat/, and see its test fail: `-- bomb flood`."""
    session.install(*TEST_TOOLS.split(), *OTHER_PROTOCOLS.split(), REDIS)
    python = ("python", "-m", "tests.attacks.defences", *session.posargs)
    session.run(*_networks(), *python, external=True)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Coverage-guided fuzzing of the parsers: `-- --minutes 60`, `-- head frames`."""
    if sys.platform != "linux" or not (3, 12) <= sys.version_info < (3, 15):
        session.skip("atheris has wheels for Linux and Python 3.12 to 3.14")
    session.install(ATHERIS)
    session.run("python", "-m", "tests.fuzz.run", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Mixed traffic with churn: `-- --minutes 30 --picture docs/soak.svg`."""
    session.install(MATPLOTLIB, TRUSTME)
    session.run("python", "-m", "tests.soak", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Wheel and sdist; the wheel in an empty environment, far from the sources."""
    session.install(BUILD)
    with tempfile.TemporaryDirectory() as folder:
        wheel = _build(session, folder)
        session.run("python", "ci/check_dist.py", folder)
        empty = Path(folder, "empty")
        session.run("python", "-m", "venv", str(empty), silent=True)
        python = str(empty / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
        pip = ("-m", "pip", "install", "--quiet", "--no-index", str(wheel))
        session.run(python, *pip, external=True)
        session.chdir(empty)
        session.run(python, "-I", "-m", "ws", "--help", silent=True, external=True)
        session.run(python, "-I", "-c", IMPORT, external=True)
        session.chdir(ROOT)


def _build(session: nox.Session, folder: str) -> Path:
    """Build an sdist, and from that a wheel; return the wheel."""
    session.run("python", "-m", "build", "--outdir", folder, silent=True)
    (wheel,) = Path(folder).glob("*.whl")
    return wheel


IMPORT = """
import pathlib, sys, ws
assert pathlib.Path(sys.prefix) in pathlib.Path(ws.__file__).parents, ws.__file__
with ws.WSServer("127.0.0.1", 0) as server:
    print("ws", ws.__version__, "serves from the wheel on", server.url)
"""


@nox.session
def conformance(session: nox.Session) -> None:
    """Autobahn in Docker, and tables of our own: `-- --fast`, `-- -k 6.4.3`, `-- -k opening`."""
    session.install(*TEST_TOOLS.split(), DOCKER, FLASK, GUNICORN)
    pytest = ("python", "-m", "pytest", "-q", "conformance", f"--junitxml={REPORTS}/junit.xml")
    session.run(*pytest, *session.posargs, **PATIENCE)


@nox.session(default=False)
def league(session: nox.Session) -> None:
    """The Autobahn suite against others, docs/league.md: `-- --clients`, `-- aiohttp --cases 6`."""
    session.install(DOCKER)
    _install_peers(session)
    session.run("python", "-m", "conformance.league", *session.posargs, **PATIENCE)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Speed beside others, docs/performance.md: `-- --quick`, `-- --side client`, `-- --list`."""
    session.install(*BENCH_TOOLS.split())
    _install_peers(session)
    session.run("python", "-m", "bench", *session.posargs)


@nox.session(default=False)
def hosted(session: nox.Session) -> None:
    """Ours in Flask beside flask-sock and Channels: `-- --picture docs/wsgi.svg`."""
    session.install(MATPLOTLIB, *HOSTED.split(), TRUSTME)
    session.run("python", "-m", "bench.hosted", *session.posargs)


@nox.session(default=False)
def gate(session: nox.Session) -> None:
    """A minute of the benchmark; fails if speed has collapsed since bench/baseline.json."""
    session.install(*BENCH_TOOLS.split())
    _install_peers(session)
    session.run("python", "-m", "bench", "--gate")


def _install_peers(session: nox.Session) -> None:
    _install_foreign(session, "bench/peers")


def _install_foreign(session: nox.Session, folder: str) -> None:
    """Install what a folder's requirements.txt and package-lock.json pin."""
    session.install("-r", f"{folder}/requirements.txt")
    done, lock = (
        ROOT / folder / "node_modules/.package-lock.json",
        ROOT / folder / "package-lock.json",
    )
    fresh = done.exists() and done.stat().st_mtime >= lock.stat().st_mtime
    if shutil.which("npm") and not fresh:
        session.run("npm", "ci", "--silent", "--prefix", folder, external=True)


@nox.session
def tools(session: nox.Session) -> None:
    """Each tool of the repository, for a moment: `-- -k instructions`."""
    playwright = BROWSER_TOOLS.split(maxsplit=1)[0]
    session.install(
        *TEST_TOOLS.split(), *BENCH_TOOLS.split(), REDIS, DOCKER, PILLOW, playwright, NOX
    )
    _install_peers(session)
    pytest = ("python", "-m", "pytest", "tests/tools", *session.posargs)
    session.run(*_browsers(), "ci/cluster", "ci/valgrind", *pytest, external=True)


@nox.session
def e2e(session: nox.Session) -> None:
    """The chat in browsers: `-- --headed`, `-- -k image`, `-- --browser firefox`."""
    session.install(*TEST_TOOLS.split(), *BROWSER_TOOLS.split(), FLASK, GUNICORN)
    pytest = ("python", "-m", "pytest", "e2e", f"--output={RESULTS}", *session.posargs)
    session.run(*_browsers(), *pytest, external=True)


@nox.session
def cluster(session: nox.Session) -> None:
    """Nodes on a real Redis, and as they are deployed: `-- -k backplane`, `-- --measure`."""
    playwright = BROWSER_TOOLS.split(maxsplit=1)[0]
    session.install(*TEST_TOOLS.split(), REDIS, playwright, DOCKER)
    if "--measure" in session.posargs:
        session.install(MATPLOTLIB)
        picture = ("--picture", "docs/scale.svg")
        session.run("ci/cluster", "python", "-m", "bench.scale.nodes", *picture, external=True)
        return
    pytest = ("python", "-m", "pytest", "tests/cluster", *session.posargs)
    session.run(*_browsers(), "ci/cluster", *pytest, external=True, **PATIENCE)


@nox.session
def wsgi(session: nox.Session) -> None:
    """Flask, Django and plain WSGI on each server that has threads: `-- -k gthread`."""
    servers = (*FRAMEWORKS.split(), *WSGI_SERVERS.split())
    session.install(*TEST_TOOLS.split(), *servers, REDIS)
    chosen = session.posargs or ["-n2", "--dist=loadgroup"]
    pytest = ("python", "-m", "pytest", "tests/wsgi", "--timeout=300", *chosen)
    session.run("ci/cluster", *pytest, external=True)


@nox.session
def interop(session: nox.Session) -> None:
    """Foreign clients and servers, docs/interop.md: `-- -k Deno`, `-- --all --write-table`."""
    session.install(*TEST_TOOLS.split())
    _install_foreign(session, "tests/interop")
    everything = ("--all",) if "--all" in session.posargs else ()
    pytest = ("python", "-m", "pytest", "tests/interop", "-n2", "--timeout=300")  # some compile
    session.run("ci/interop", *everything, *pytest, *session.posargs, external=True)


@nox.session(default=False)
def shots(session: nox.Session) -> None:
    """The README's pictures, from the real page."""
    session.install(*TEST_TOOLS.split(), *BROWSER_TOOLS.split(), PILLOW)
    session.run(*_browsers(), "python", "-m", "e2e.shots", external=True)


def _browsers() -> tuple[str, ...]:
    return () if os.name == "nt" else ("ci/browsers",)


@nox.session(venv_backend="none", default=False)
def clean(session: nox.Session) -> None:
    """Remove all files that the other sessions made, but not their environments."""
    caches = (".coverage", ".hypothesis", ".mypy_cache", ".ruff_cache")
    results = (REPORTS, f"{REPORTS}-league", RESULTS, BENCH_RESULTS, "tests/interop/build")
    for name in ("build", "dist", *results, *caches):
        path = ROOT / name
        shutil.rmtree(path) if path.is_dir() else path.unlink() if path.exists() else None

"""The project's checks: `nox -s lint types unit build conformance`.

`ci/test` sets up all that these need, and runs them; `nox -s unit-3.11 -- tests/test_frames.py`
runs part of one.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import nox

PYTHONS = [f"3.{minor}" for minor in range(7, 16)]
COVERAGE_PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
"""The interpreter that nox itself runs on, so that there always is one."""
COVERED = ("deflate", "frames", "handshake", "limits", "protocol")
"""The modules without I/O: all branches of each are covered by its own test file."""

TEST_TOOLS = "pytest==9.2.0 pytest-timeout==2.4.0 hypothesis==6.170.15 trustme==1.2.1"
OLD_TEST_TOOLS = {  # the last for these Pythons
    "3.7": "pytest==7.4.4 pytest-timeout==2.4.0 hypothesis==6.79.4 trustme==1.0.0",
    "3.8": "pytest==8.3.5 pytest-timeout==2.4.0 hypothesis==6.113.0 trustme==1.1.0",
    "3.9": "pytest==8.4.2 pytest-timeout==2.4.0 hypothesis==6.141.1 trustme==1.2.1",
    "3.10": "pytest==9.2.0 pytest-timeout==2.4.0 hypothesis==6.168.5 trustme==1.2.1",
}
COVERAGE = "coverage==7.17.3"
RUFF = "ruff==0.17.6"
DOCKER = "docker==7.2.0"
MYPY = "mypy==2.4.1"
BUILD = "build==1.6.1"

CI = bool(os.environ.get("CI"))
ROOT = Path(__file__).parent
REPORTS = "conformance/reports"

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "unit", "build"]
nox.options.reuse_existing_virtualenvs = True
os.environ.setdefault("UV_PYTHON_DOWNLOADS", "never")  # test what is here


@nox.session
def lint(session: nox.Session) -> None:
    """Style, format, imports and size."""
    session.install(RUFF)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("python", "ci/check_ws.py")


@nox.session
def types(session: nox.Session) -> None:
    """Types, strictly."""
    session.install(MYPY)
    session.run("mypy")


@nox.session(python=PYTHONS)
def unit(session: nox.Session) -> None:
    """All tests on each Python, and the coverage of the modules without I/O on one."""
    session.install(*OLD_TEST_TOOLS.get(str(session.python), TEST_TOOLS).split())
    session.run("python", "-m", "pytest", *session.posargs)
    if session.python == COVERAGE_PYTHON and not session.posargs:
        session.install(COVERAGE)
        for module in COVERED:
            _cover(session, module)


def _cover(session: nox.Session, module: str) -> None:
    env = {"COVERAGE_FILE": str(Path(session.create_tmp()) / module)}
    only = f"--include=ws/{module}.py"
    pytest = ("-m", "pytest", "-q", f"tests/test_{module}.py")
    session.run("coverage", "run", "--branch", only, *pytest, env=env)
    session.run("coverage", "report", "--show-missing", "--fail-under=100", only, env=env)


@nox.session
def build(session: nox.Session) -> None:
    """Wheel and sdist; the wheel in an empty environment, far from the sources."""
    session.install(BUILD)
    with tempfile.TemporaryDirectory() as folder:
        session.run("python", "-m", "build", "--outdir", folder, silent=True)
        session.run("python", "ci/check_dist.py", folder)
        (wheel,) = Path(folder).glob("*.whl")
        empty = Path(folder, "empty")
        session.run("python", "-m", "venv", str(empty), silent=True)
        python = str(empty / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
        pip = ("-m", "pip", "install", "--quiet", "--no-index", str(wheel))
        session.run(python, *pip, external=True)
        session.chdir(empty)
        session.run(python, "-I", "-m", "ws", "--help", silent=True, external=True)
        session.run(python, "-I", "-c", IMPORT, external=True)
        session.chdir(ROOT)


IMPORT = """
import pathlib, sys, ws
assert pathlib.Path(sys.prefix) in pathlib.Path(ws.__file__).parents, ws.__file__
with ws.WSServer("127.0.0.1", 0) as server:
    print("ws", ws.__version__, "serves from the wheel on", server.url)
"""


@nox.session
def conformance(session: nox.Session) -> None:
    """The Autobahn suite, in Docker: `-- --fast`, `-- -k 6.4.3`, `-- --testee plain`."""
    session.install(*TEST_TOOLS.split(), DOCKER)
    pytest = ("python", "-m", "pytest", "-q", "conformance", f"--junitxml={REPORTS}/junit.xml")
    # Ctrl-C has containers to stop: give it time.
    patience = {"interrupt_timeout": 60.0, "terminate_timeout": 30.0}
    engine = () if os.name == "nt" else ("ci/engine",)
    session.run(*engine, *pytest, *session.posargs, external=True, **patience)


@nox.session(venv_backend="none", default=False)
def clean(session: nox.Session) -> None:
    """Remove what the other sessions left behind, environments excepted."""
    caches = (".coverage", ".hypothesis", ".mypy_cache", ".ruff_cache")
    for name in ("build", "dist", REPORTS, *caches):
        path = ROOT / name
        shutil.rmtree(path) if path.is_dir() else path.unlink() if path.exists() else None

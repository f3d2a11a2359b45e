"""Run a tool as a person does. In CI, a skipped test is a failure."""

from __future__ import annotations

import subprocess
import sys
from typing import Callable

import pytest

from tests.support import ROOT
from tests.support.missing import pytest_runtest_makereport  # noqa: F401 -- a hook

PATIENCE_SECONDS = 100
"""A tool must end within this time, even on a busy machine."""
Tool = Callable[..., str]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Give a function that runs ``python -m NAME ARGUMENT...`` and returns what it prints."""

    def run(name: str, *arguments: object, codes: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run(
            [sys.executable, "-m", name, *map(str, arguments)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode in codes, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run

"""A plugin for tests of foreign programs: what is missing is a skip, and in CI a failure."""

from __future__ import annotations

import os
from typing import Any, Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Generator[None, Any, Any]:
    """Report a skipped test as failed if CI is set."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome, report.longrepr = "failed", call.excinfo.exconly()
    return report

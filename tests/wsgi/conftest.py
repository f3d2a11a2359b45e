"""In CI, a skipped test is a failure."""

from __future__ import annotations

from tests.support.missing import pytest_runtest_makereport  # noqa: F401 -- a hook

"""A Redis of its own for each test of the chat; and in CI, nothing that is left out."""

from __future__ import annotations

import os

import pytest

from tests.cluster.link import Link
from tests.cluster.programs import Redis


@pytest.fixture
def redis():
    with Redis() as redis:
        yield redis


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome, report.longrepr = "failed", call.excinfo.exconly()
    return report


@pytest.fixture
def link(redis):
    """A way to that Redis."""
    with Link(redis.port) as link:
        yield link

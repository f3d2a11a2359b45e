"""A Redis for each test, and a proxy before it; in CI, a skipped test is a failure."""

from __future__ import annotations

import os

import pytest

from tests.cluster.programs import Redis, RedisProxy


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
    """A proxy before that Redis."""
    with RedisProxy(redis.port) as link:
        yield link

"""A Redis for each test, and a proxy before it; in CI, a skipped test is a failure."""

from __future__ import annotations

import pytest

from tests.cluster.programs import Redis, RedisProxy
from tests.support.missing import pytest_runtest_makereport  # noqa: F401 -- a hook


@pytest.fixture
def redis():
    with Redis() as redis:
        yield redis


@pytest.fixture
def link(redis):
    """A proxy before that Redis."""
    with RedisProxy(redis.port) as link:
        yield link

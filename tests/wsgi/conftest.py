"""A Redis; and in CI, a skipped test is a failure."""

from __future__ import annotations

import pytest

from tests.cluster.programs import Redis
from tests.support.missing import pytest_runtest_makereport  # noqa: F401 -- a hook


@pytest.fixture
def redis():
    with Redis() as redis:
        yield redis

"""A Redis of its own for each test of the chat."""

from __future__ import annotations

import pytest

from cluster.programs import Redis


@pytest.fixture
def redis():
    with Redis() as redis:
        yield redis

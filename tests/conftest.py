"""A certificate; Hypothesis without deadlines, and with the same examples at every run in CI."""

import os

import pytest
from hypothesis import settings

from tests.support import certificates

settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate for localhost and 127.0.0.1, and its key."""
    return certificates.issue(tmp_path_factory.mktemp("certificate"))

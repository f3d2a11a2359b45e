"""Servers to attack, shut down at the end."""

from __future__ import annotations

import sys

import pytest

from tests.attacks.victim import Victim


@pytest.fixture
def victim():
    """Start a server with the given options; it has to end by itself after the test."""
    if not sys.platform.startswith("linux"):
        pytest.skip("memory, threads and descriptors are read in /proc")
    victims = []

    def start(**options):
        victims.append(Victim(**options))
        return victims[-1]

    yield start
    for victim in victims:
        assert victim.end() == 0

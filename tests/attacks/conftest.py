"""Servers to attack, shut down at the end; and the table of crowds, after all tests."""

from __future__ import annotations

import sys

import pytest

from tests.attacks.crowds import report
from tests.attacks.crowds.measure import Figures
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


def pytest_terminal_summary(terminalreporter):
    """Print what crowds have cost others."""
    reports = (each for reports in terminalreporter.stats.values() for each in reports)
    found = [
        Figures(**value)
        for each in reports
        if getattr(each, "when", "") == "call"
        for name, value in each.user_properties
        if name == "crowd"
    ]
    if found:
        terminalreporter.section("crowds")
        for line in report.lines(found):
            terminalreporter.write_line(line)

"""Servers to attack, shut down at the end; and after all tests, what attacks have cost."""

from __future__ import annotations

import sys

import pytest

from tests.attacks.figures import Figures, text
from tests.attacks.victim import Victim


@pytest.fixture
def victim(request, record_property):
    """Start a server with the given options; it has to end by itself after the test."""
    if not sys.platform.startswith("linux"):
        pytest.skip("memory, threads and descriptors are read in /proc")
    victims = []

    def note(figures):
        record_property("figures", figures.pack())

    def start(**options):
        victims.append(Victim(request.node.name, note, **options))
        return victims[-1]

    yield start
    for victim in victims:
        assert victim.end() == 0


def pytest_terminal_summary(terminalreporter):
    """Print what each attack has cost."""
    reports = (each for reports in terminalreporter.stats.values() for each in reports)
    found = [
        Figures.unpack(value)
        for each in reports
        if getattr(each, "when", "") == "call"
        for name, value in each.user_properties
        if name == "figures"
    ]
    if found:
        terminalreporter.section("what attacks have cost")
        for line in text(found):
            terminalreporter.write_line(line)

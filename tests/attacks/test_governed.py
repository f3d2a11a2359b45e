"""Crowds: many connections of one address together, as `tests.attacks.crowds.table` has them.

Others may wait, and the server may grow and compute, only as far as the table says. On a machine
that is busy with other things, the time that others wait tells little. So it is the CPU time that
counts, which the server used while an honest client waited.
"""

from __future__ import annotations

import sys
from dataclasses import asdict

import pytest

from tests.attacks.crowds.measure import measure
from tests.attacks.crowds.report import excess
from tests.attacks.crowds.table import BY_NAME

SECONDS = 5.0
"""How long a crowd attacks."""

pytestmark = [
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="what a process uses is in /proc"
    ),
    pytest.mark.timeout(240),
]


@pytest.mark.parametrize("name", BY_NAME)
def test_crowd(name, record_property):
    figures = measure(BY_NAME[name], SECONDS * BY_NAME[name].longer)
    record_property("crowd", asdict(figures))  # for the table at the end
    assert not excess(figures)

"""Crowds: many connections of one address together, as `tests.attacks.crowds.table` has them.

Others may wait, and the server may grow and compute, only as far as the table says.
"""

from __future__ import annotations

import sys

import pytest

from tests.attacks.crowds.measure import measure
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
    record_property("figures", figures.pack())  # for the table at the end
    assert not figures.excess()

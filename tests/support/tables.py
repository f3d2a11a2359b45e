"""Tests that are tables."""

from __future__ import annotations

from typing import Any

import pytest


def table(names: str, *rows: tuple[Any, ...]) -> pytest.MarkDecorator:
    """Run a test for each row. A row starts with its name, such as the clause that it shows."""
    return pytest.mark.parametrize(names, [pytest.param(*row[1:], id=row[0]) for row in rows])

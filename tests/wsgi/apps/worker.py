"""What the application knows of its worker."""

from __future__ import annotations

from typing import Callable

counts: Callable[[], int] = int
"""Returns the connections that the worker counts; `tests.wsgi.counts` sets it."""

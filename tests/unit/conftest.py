"""Coverage by file."""

import sys

import pytest


@pytest.fixture(scope="module", autouse=True)
def own_coverage(request):
    """Have coverage note whose tests run, if it runs: noxfile.py asks for a module's own tests."""
    if "coverage" in sys.modules:
        running = sys.modules["coverage"].Coverage.current()
        if running is not None:
            running.switch_context(request.module.__name__)

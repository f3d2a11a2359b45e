"""Each case of the Autobahn suite is a test: ``nox -s conformance -- -k 6.4.3``."""

from __future__ import annotations

import pytest

from conformance.harness import Run


def test_case(run: Run, testee: str, case: str) -> None:
    """It is OK, and so is the closing; the three that aren't judged are INFORMATIONAL."""
    (outcome,) = (outcome for outcome in run.outcomes if outcome.testee.name == testee)
    result = outcome.results[case]
    if not result.passed:
        pytest.fail(f"{testee} {case}: {result}", pytrace=False)


def test_testee(run: Run, testee: str) -> None:
    """It logged no exception, and ended well. A server was one process throughout."""
    faults = [
        fault
        for outcome in run.outcomes
        if outcome.testee.name == testee
        for fault in outcome.faults
    ]
    if faults:
        pytest.fail("\n".join(faults), pytrace=False)

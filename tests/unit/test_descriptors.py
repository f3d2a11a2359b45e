"""Descriptors: the limit is raised as far as needed and possible, and some are kept back."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from tests.support.tables import table
from ws import descriptors

INFINITE = -1


@pytest.fixture
def system(monkeypatch):
    """A system with these limits, where 9 is the lowest free descriptor; what it was set to."""

    def make(soft, hard, refusal=None):
        limits = [(soft, hard)]

        def setrlimit(kind, pair):
            assert kind == "nofile"
            if refusal:
                raise refusal
            limits.append(pair)

        resource = SimpleNamespace(RLIMIT_NOFILE="nofile", RLIM_INFINITY=INFINITE)
        resource.getrlimit, resource.setrlimit = lambda kind: limits[-1], setrlimit
        monkeypatch.setattr(descriptors, "resource", resource)
        monkeypatch.setattr("os.open", lambda path, flags: 9)
        monkeypatch.setattr("os.close", lambda descriptor: None)
        return limits

    return make


@table(
    "soft, hard, number, raised, reserved",
    ("enough as it is", 1024, 4096, 100, None, 896),
    ("of a large limit, a certain number is kept back", 65536, 65536, 100, None, 65280),
    ("as far as needed", 1024, 1 << 20, 10_000, 10_265, 10_009),
    ("a little: an eighth is kept back", 64, 1024, 62, 82, 72),
    ("without a bound", 1024, INFINITE, 10_000, 10_265, 10_009),
    ("as far as may be", 1024, 4096, 10_000, 4096, 3840),
    ("no further", 1024, 1024, 10_000, None, 896),
    ("no limit", INFINITE, INFINITE, 10_000, None, sys.maxsize),
)
def test_provide(system, soft, hard, number, raised, reserved):
    limits = system(soft, hard)
    assert descriptors.provide(number) == (9, reserved)
    if raised is None:
        assert limits in ([(soft, hard)], [(soft, hard), (soft, hard)])
    else:
        assert limits[1:] == [(raised, hard)]


@pytest.mark.parametrize("refusal", [OSError("not permitted"), ValueError("exceeds it")])
def test_a_system_that_refuses_to_raise_it(system, refusal):
    system(1024, INFINITE, refusal)
    assert descriptors.provide(10_000) == (9, 896)


def test_a_system_without_a_limit(monkeypatch):
    monkeypatch.setattr(descriptors, "resource", None)
    assert descriptors.provide(10_000) == (0, sys.maxsize)


def test_this_system():
    free, reserved = descriptors.provide(10)
    assert free + 10 <= reserved

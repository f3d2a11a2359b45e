"""Keeping freed memory, and returning it to the system."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from ws.engine import malloc


@pytest.fixture(autouse=True)
def found_anew():
    malloc._function.cache_clear()
    yield
    malloc._function.cache_clear()


def test_free_memory_is_returned_where_the_library_can(monkeypatch):
    calls = []
    monkeypatch.setattr(
        ctypes, "CDLL", lambda name: type("glibc", (), {"malloc_trim": calls.append})
    )
    malloc.return_freed_memory()
    assert calls == [0]


@pytest.mark.parametrize("error", [OSError, TypeError, AttributeError])
def test_elsewhere_nothing_happens(monkeypatch, error):
    def none(name):
        raise error

    monkeypatch.setattr(ctypes, "CDLL", none)
    malloc.return_freed_memory()


def test_here_it_works_or_does_nothing():
    malloc.return_freed_memory()


MANY = """
from ws.engine.malloc import keep_freed_memory
def pages():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1])
before = pages()
for _ in range(3):
    keep_freed_memory(16 << 20)
print(4096 * (pages() - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_asking_again_to_keep_freed_memory_takes_none():
    done = subprocess.run([sys.executable, "-c", MANY], stdout=subprocess.PIPE, check=True)
    assert int(done.stdout) < 8 << 20

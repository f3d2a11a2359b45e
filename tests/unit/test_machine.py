"""How much memory there is: the machine's, or the container's if that is less."""

from __future__ import annotations

import os

import pytest

from ws.engine import machine

GIB = 1 << 30


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A machine of 16 GiB, and a function that writes its files."""
    pages = {"SC_PHYS_PAGES": 16 * GIB // 4096, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__, raising=False)
    monkeypatch.setattr(machine, "CGROUPS", str(tmp_path / "cgroup"))
    monkeypatch.setattr(machine, "OURS", str(tmp_path / "ours"))

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


def test_this_machine():
    assert 1 << 20 < machine.memory_bytes() < 1 << 60


def test_a_machine_without_control_groups(system):
    assert machine.memory_bytes() == 16 * GIB


@pytest.mark.parametrize("name", ["memory.max", "memory.high"])
@pytest.mark.parametrize("group", ["/", "/system.slice/chat.service"])
def test_version_2(system, name, group):
    system("ours", f"0::{group}\n")
    system(f"cgroup{group}/{name}", f"{GIB}\n")
    assert machine.memory_bytes() == GIB


def test_the_groups_around_count_as_well(system):
    system("ours", "0::/a/b\n")
    system("cgroup/a/b/memory.max", f"{3 * GIB}\n")
    system("cgroup/a/memory.max", f"{2 * GIB}\n")
    system("cgroup/memory.max", "max\n")
    assert machine.memory_bytes() == 2 * GIB


def test_version_1(system):
    system("ours", "5:cpu,cpuacct:/docker/1\n4:hugetlb,memory:/docker/1\n1:name=systemd:/x\n")
    system("cgroup/memory/memory.limit_in_bytes", f"{GIB}\n")
    system("cgroup/memory/docker/1/memory.limit_in_bytes", "9223372036854771712\n")
    system("cgroup/x/memory.max", "1\n")
    assert machine.memory_bytes() == GIB


@pytest.mark.parametrize("text", ["", "max", "-", "12 34"])
def test_what_is_no_limit_is_none(system, text):
    system("ours", "0::/\n")
    system("cgroup/memory.max", text)
    assert machine.memory_bytes() == 16 * GIB


def no_such_name(name):
    raise ValueError("unrecognized configuration name")


@pytest.mark.parametrize("sysconf", [no_such_name, lambda name: -1])
def test_a_system_that_tells_nothing(system, monkeypatch, sysconf):
    monkeypatch.setattr(os, "sysconf", sysconf, raising=False)
    assert machine.memory_bytes() == machine.UNKNOWN_BYTES

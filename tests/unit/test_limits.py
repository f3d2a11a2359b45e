"""The limits: their defaults, and that a wrong one is refused at once."""

from __future__ import annotations

import dataclasses
from math import inf, nan

import pytest

from ws import Limits

NUMBERS = [field.name for field in dataclasses.fields(Limits) if field.name != "slow_client"]


def test_everything_is_limited_by_default():
    limits = dataclasses.asdict(Limits())
    assert limits.pop("slow_client") == "close"
    assert all(0 < value < inf for value in limits.values())


@pytest.mark.parametrize(
    "name, value",
    [
        *((name, 1) for name in NUMBERS if name != "max_memory"),
        ("max_memory", 8 << 20),
        *((name, 0.25) for name in NUMBERS if "_timeout" in name),
        ("ping_interval", None),  # no pings
        ("slow_client", "close"),
        ("slow_client", "skip"),
    ],
)
def test_accepted(name, value):
    assert getattr(Limits(**{name: value}), name) == value


NOT_POSITIVE_AND_FINITE = [(value, ValueError) for value in (0, -1, -0.5, inf, -inf, nan)]
NOT_A_NUMBER = [(value, TypeError) for value in (True, False, "1", [1], b"1", 1j)]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value, error", NOT_POSITIVE_AND_FINITE + NOT_A_NUMBER)
def test_refused(name, value, error):
    with pytest.raises(error, match=f"^{name} must be .*, not "):
        Limits(**{name: value})


def test_what_is_counted_is_whole():
    with pytest.raises(TypeError, match="threads must be a whole number, not"):
        Limits(threads=1.5)


@pytest.mark.parametrize(
    "clients, per_address", [(10_000, 1_000), (1_234, 123), (100, 10), (99, 10), (1, 10)]
)
def test_the_bound_of_an_address_follows_from_the_bound_in_all(clients, per_address):
    assert Limits(max_clients=clients).max_clients_per_address == per_address
    assert Limits(max_clients=clients, max_clients_per_address=7).max_clients_per_address == 7


GIB = 1 << 30


@pytest.mark.parametrize(
    "machine, max_message_size, max_memory",
    [
        (4 * GIB, 1 << 20, GIB),
        (GIB // 8, 1 << 20, 64 << 20),
        (4 * GIB, 128 << 20, GIB),
        (4 * GIB, 256 << 20, 2 * GIB),
        (10**15, 1 << 20, 10**12),
        (GIB, 10**12, 10**12),
    ],
)
def test_the_memory_follows_from_the_machines(monkeypatch, machine, max_message_size, max_memory):
    monkeypatch.setattr("ws.engine.limits.memory_bytes", lambda: machine)
    assert Limits(max_message_size=max_message_size).max_memory == max_memory


def test_the_memory_suffices_for_one_message():
    assert Limits(max_message_size=1000, max_memory=8000).max_memory == 8000
    told = "^max_memory must be at least 8000, 8 times max_message_size, not 7999$"
    with pytest.raises(ValueError, match=told):
        Limits(max_message_size=1000, max_memory=7999)


CAN_BE_NONE = ("ping_interval", "max_clients_per_address", "max_memory")


@pytest.mark.parametrize("name", [name for name in NUMBERS if name not in CAN_BE_NONE])
def test_nothing_else_can_be_none(name):
    with pytest.raises(TypeError, match=f"^{name} must be a number, not None"):
        Limits(**{name: None})


@pytest.mark.parametrize("value", ["", "Close", "drop", None, 1, b"close"])
def test_slow_client_may_be_nothing_else(value):
    with pytest.raises(ValueError, match="slow_client must be 'close' or 'skip', not"):
        Limits(slow_client=value)


def test_limits_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Limits().threads = 2

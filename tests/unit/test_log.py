"""The logger, and the rate at which peers can make it write."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from ws.engine.log import WARNING_INTERVAL_SECONDS, Warnings, logger


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr("ws.engine.log.time", clock)
    return clock


def messages(caplog):
    assert {record.levelno for record in caplog.records} <= {logging.WARNING}
    return [record.getMessage() for record in caplog.records]


def test_the_library_configures_nothing():
    assert logger.name == "ws"
    assert logger.level == logging.NOTSET
    assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]


def test_a_warning_is_logged_once_in_a_while(clock, caplog):
    warnings = Warnings()
    for number in range(5):
        warnings.warn("%s refused %d times", "somebody", number)
    assert messages(caplog) == ["somebody refused 0 times"]
    clock.now += WARNING_INTERVAL_SECONDS - 0.01
    warnings.warn("%s refused %d times", "somebody", 5)
    assert len(messages(caplog)) == 1
    clock.now += 0.02
    for number in range(6, 9):
        warnings.warn("%s refused %d times", "somebody", number)
    assert messages(caplog)[1:] == ["somebody refused 6 times"]


def test_each_kind_of_warning_has_its_own_time(clock, caplog):
    warnings = Warnings()
    for _ in range(2):
        warnings.warn("one")
        warnings.warn("another")
    assert messages(caplog) == ["one", "another"]


def test_each_server_has_its_own_times(clock, caplog):
    for _ in range(2):
        Warnings().warn("one")
    assert messages(caplog) == ["one", "one"]


def test_the_first_warning_is_logged_however_young_the_clock_is(clock, caplog):
    clock.now = 0.0
    Warnings().warn("100 % certain, without arguments")
    assert len(messages(caplog)) == 1

"""The logger: the rate at which peers can make it write, and what they can make it write."""

from __future__ import annotations

import io
import logging
import sys
from types import SimpleNamespace

import pytest

from tests.support.tables import table
from ws.engine.log import (
    CHAIN,
    EXCEPTIONS_AT_ONCE,
    INTERVAL_SECONDS,
    KINDS,
    LONGEST_TEXT,
    Warnings,
    escaped,
    logger,
)


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
    clock.now += INTERVAL_SECONDS - 0.01
    warnings.warn("%s refused %d times", "somebody", 5)
    assert len(messages(caplog)) == 1
    clock.now += 0.02
    for number in range(6, 9):
        warnings.warn("%s refused %d times", "somebody", number)
    assert messages(caplog)[1:] == ["somebody refused 6 times (and 5 more like this)"]
    clock.now += INTERVAL_SECONDS
    warnings.warn("%s refused %d times", "somebody", 9)
    clock.now += INTERVAL_SECONDS
    warnings.warn("%s refused %d times", "somebody", 10)
    assert messages(caplog)[2:] == [
        "somebody refused 9 times (and 2 more like this)",
        "somebody refused 10 times",
    ]


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
    warnings = Warnings()
    warnings.warn("100 % certain, without arguments")
    assert len(messages(caplog)) == 1
    warnings.warn("100 % certain, without arguments")
    clock.now += INTERVAL_SECONDS
    warnings.warn("100 % certain, without arguments")
    assert messages(caplog)[1:] == ["100 % certain, without arguments (and 1 more like this)"]


def test_the_kinds_that_are_kept_are_bounded(clock, caplog):
    caplog.set_level("CRITICAL", "ws")
    warnings = Warnings()
    for number in range(3 * KINDS):
        for _ in range(2):
            warnings.warn(f"warning {number}")
    assert all(len(kept) <= KINDS + 1 for kept in vars(warnings).values())


# Exceptions


def fail(text="a bug"):
    raise ValueError(text)


def fail_elsewhere(text="a bug"):
    raise ValueError(text)


def raised(fail, *args):
    """Return the exception that a function raises."""
    try:
        fail(*args)
    except Exception as error:
        return error
    raise AssertionError("it raised nothing")


def by_another_way():
    try:
        fail()
    except ValueError as error:
        return error


def test_an_exception_is_logged_with_its_traceback(caplog):
    error = raised(fail)
    Warnings().error(error, "callback for %s raised", "somebody")
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "callback for somebody raised")
    assert record.exc_info[1] is error, "for handlers that want more than the text"


def test_of_each_kind_of_exception_some_are_logged_and_then_one_in_a_while(clock, caplog):
    warnings = Warnings()
    for number in range(100):
        warnings.error(raised(fail, str(number)), "number %d", number)
    assert len(caplog.records) == EXCEPTIONS_AT_ONCE
    caplog.clear()
    clock.now += INTERVAL_SECONDS
    for number in range(100, 200):
        warnings.error(raised(fail, str(number)), "number %d", number)
    (record,) = caplog.records
    assert record.getMessage() == "number 100 (and 95 more like this)"
    clock.now += 100 * INTERVAL_SECONDS
    caplog.clear()
    for number in range(100):
        warnings.error(raised(fail, str(number)), "number %d", number)
    assert len(caplog.records) == EXCEPTIONS_AT_ONCE, "as at first"


@table(
    "another",
    ("raised elsewhere", lambda: raised(fail_elsewhere)),
    ("of another type", lambda: raised(lambda: {}["missing"])),
    ("by another way to the same place", by_another_way),
    ("never raised", lambda: ValueError("a bug")),
)
def test_a_flood_of_one_kind_hides_no_other(clock, caplog, another):
    warnings = Warnings()
    for _ in range(100):
        warnings.error(raised(fail), "one")
    caplog.clear()
    warnings.error(another(), "another")
    assert [record.getMessage() for record in caplog.records] == ["another"]


def logged(error):
    """Return what a stream handler writes about an exception."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    try:
        Warnings().error(error, "callback raised")
    finally:
        logger.removeHandler(handler)
    return stream.getvalue().splitlines()


EVIL = "x\r\n2026-01-01 ERROR forged\x1b[2J\x85\u2028\u202e\x00\ud800é"
ESCAPED = r"x\r\n2026-01-01 ERROR forged\x1b[2J\x85\u2028\u202e\x00\ud800é"


def test_the_text_of_an_exception_forges_no_lines():
    head, traceback, *lines, last = logged(raised(fail, EVIL))
    assert head == "ERROR callback raised"
    assert traceback == "Traceback (most recent call last):"
    assert any(line.startswith("  File ") and line.endswith(" in fail") for line in lines)
    assert "    raise ValueError(text)" in lines
    assert last == f"ValueError: {ESCAPED}"


def chained():
    try:
        fail(EVIL)
    except ValueError as error:
        raise KeyError("second") from error


def in_handling():
    try:
        fail(EVIL)
    except ValueError:
        fail_elsewhere("second")


def replaced():
    try:
        fail(EVIL)
    except ValueError:
        raise KeyError("second") from None


@table(
    "fail, link",
    ("by from", chained, "The above exception was the direct cause of the following exception:"),
    (
        "by context",
        in_handling,
        "During handling of the above exception, another exception occurred:",
    ),
    ("suppressed", replaced, None),
)
def test_exceptions_before_it(fail, link):
    lines = logged(raised(fail))
    assert (f"ValueError: {ESCAPED}" in lines) == (link in lines) == bool(link)
    assert "second" in lines[-1]


def test_a_long_chain_is_cut():
    error = ValueError("0")
    for number in range(1, 10 * CHAIN):
        following = ValueError(str(number))
        following.__context__ = error
        error = following
    lines = logged(error)
    assert sum(line.startswith("ValueError") for line in lines) == CHAIN
    assert lines[-1] == f"ValueError: {10 * CHAIN - 1}"


def test_a_syntax_error():
    lines = logged(raised(eval, "1 +\n2 x\x1b"))
    assert not any("\x1b" in line for line in lines)
    assert "SyntaxError: " in lines[-1]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="before Python 3.11 there are none")
def test_notes_and_groups():
    error = raised(fail, EVIL)
    error.add_note("a note\nERROR forged\x1b")
    group = ExceptionGroup("several\nERROR", [error, raised(fail_elsewhere)])  # noqa: F821
    lines = logged(raised(lambda: (_ for _ in ()).throw(group)))
    assert f"  | ValueError: {ESCAPED}" in lines
    assert r"  |   ERROR forged\x1b" in lines
    assert "  | ValueError: a bug" in lines
    assert not any(line.startswith("ERROR ") for line in lines[1:])


@pytest.mark.parametrize("exc_info", [True, None], ids=["none is handled", "none"])
def test_without_an_exception(exc_info, caplog):
    logger.error("just a line", exc_info=exc_info)
    assert [record.getMessage() for record in caplog.records] == ["just a line"]


def test_the_length_of_a_text_is_bounded():
    (last,) = logged(raised(fail, "x" * (1 << 20)))[-1:]
    assert len(last) < LONGEST_TEXT + 100
    assert last.endswith(f"... ({len('ValueError: ') + (1 << 20) - LONGEST_TEXT} more characters)")


@table(
    "text, shown",
    ("as it is", "plain, größer, 日本", "plain, größer, 日本"),
    ("nothing", "", ""),
    ("control characters", "\x00\x1b\x7f\x9b", r"\x00\x1b\x7f\x9b"),
    ("line ends", "\n\r\v\f\x85\u2028\u2029", r"\n\r\x0b\x0c\x85\u2028\u2029"),
    ("a change of direction", "\u202egnp.exe", r"\u202egnp.exe"),
    ("half a character", "\ud83d", r"\ud83d"),
    ("as long as may be", "x" * LONGEST_TEXT, "x" * LONGEST_TEXT),
    ("longer", "x" * (LONGEST_TEXT + 1), "x" * LONGEST_TEXT + "... (1 more characters)"),
)
def test_escaped(text, shown):
    assert escaped(text) == shown

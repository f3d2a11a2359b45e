"""The library's logger. What peers can cause is escaped, and logged at a limited rate."""

from __future__ import annotations

import logging
import math
import os
import time
import traceback
from types import TracebackType
from typing import Any, Hashable, Iterator

INTERVAL_SECONDS = 10.0
"""The same warning is logged at most once in this time, and so is an exception of one kind."""
EXCEPTIONS_AT_ONCE = 5
"""Of one kind of exception, this many are logged before that."""
KINDS = 1000
"""The times of at most this many kinds are kept."""
LONGEST_TEXT = 1000
"""Characters of an exception's text that are logged."""
CHAIN = 20
"""Of exceptions that were raised in handling another one, and so on, this many are logged."""
CAUSE = "The above exception was the direct cause of the following exception:"
CONTEXT = "During handling of the above exception, another exception occurred:"
OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _escape_exception(record: logging.LogRecord) -> bool:
    """Format a record's exception before a handler does, which would leave its text as it is."""
    if record.exc_info and record.exc_info[1] and not record.exc_text:
        described = traceback.TracebackException(*record.exc_info)
        record.exc_text = "\n".join(_describe(described))  # defence: exception-escape
    return True


logger: logging.Logger = logging.getLogger("ws")
logger.addHandler(logging.NullHandler())
logger.addFilter(_escape_exception)


def _describe(error: traceback.TracebackException | None) -> Iterator[str]:
    """Yield lines like those of `traceback.format_exception`. None but ours begin without a space.

    Text from peers may be anywhere in the text of an exception, or in a note.
    """
    chain: list[tuple[traceback.TracebackException, str]] = []
    link = ""
    while error and len(chain) < CHAIN:
        chain.append((error, link))
        if error.__cause__:
            error, link = error.__cause__, CAUSE
        else:
            suppressed = error.__suppress_context__
            error = None if suppressed else error.__context__
            link = CONTEXT
    for one, link in reversed(chain):
        if one.stack:
            yield "Traceback (most recent call last):"
        for frame in one.stack.format():
            yield frame.rstrip("\n")
        indent = ""
        for text in one.format_exception_only():  # several if it is a SyntaxError or has notes
            yield indent + escaped(text.rstrip("\n"))
            indent = "  "
        for number, part in enumerate(getattr(one, "exceptions", None) or (), 1):
            yield f"  +-- {number}"
            for line in _describe(part):
                yield "  | " + line.replace("\n", "\n  | ")
        if link:
            yield f"\n{link}\n"


def escaped(text: str) -> str:
    """Return a text with its line ends, control characters and the like escaped, and shortened."""
    shown = text[:LONGEST_TEXT]
    if not shown.isprintable():
        shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in shown)
    left_out = len(text) - LONGEST_TEXT
    return shown if left_out <= 0 else f"{shown}... ({left_out} more characters)"


class Warnings:
    """Logs what peers can cause, at a limited rate for each kind. Any thread may call any method.

    A line says how many of its kind were left out before it.
    """

    def __init__(self) -> None:
        self._next: dict[Hashable, float] = {}  # by kind, when one more is due
        self._left_out: dict[Hashable, int] = {}  # by kind, since the last one that was logged

    def warn(self, message: str, *args: Any) -> None:
        """Log *message* % *args*, at most once in ten seconds for each *message*."""
        if self._is_due(message, 1):
            logger.warning(*self._counted(message, message, args))

    def error(self, error: BaseException, message: str, *args: Any) -> None:
        """Log *message* % *args* with an exception, its traceback included.

        Exceptions of one type that were raised at the same place are of one kind. The first five
        are logged, then at most one in ten seconds.
        """
        kind = (type(error), *_place(error.__traceback__))
        if self._is_due(kind, EXCEPTIONS_AT_ONCE):
            logger.error(*self._counted(kind, message, args), exc_info=error)

    def _is_due(self, kind: Hashable, at_once: int) -> bool:
        """Say whether to log one more of a kind. If not, count it."""
        now = time.monotonic()
        if len(self._next) > KINDS:
            self._next.clear()
            self._left_out.clear()
        due = max(self._next.get(kind, -math.inf), now - (at_once - 1) * INTERVAL_SECONDS)
        if due <= now:  # defence: log-rate
            self._next[kind] = due + INTERVAL_SECONDS
            return True
        self._left_out[kind] = self._left_out.get(kind, 0) + 1
        return False

    def _counted(self, kind: Hashable, message: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return a message and its arguments, with how many of its kind were left out before."""
        left_out = self._left_out.pop(kind, 0)
        if not left_out:
            return (message, *args)
        return f"%s (and {left_out} more like this)", message % args if args else message


def _place(stack: TracebackType | None) -> tuple[Any, ...]:
    """Return where an exception was raised, and where the application's code was entered."""
    entered: tuple[Any, ...] = ()
    last: tuple[Any, ...] = ()
    while stack:
        last = stack.tb_frame.f_code.co_filename, stack.tb_lineno
        if not entered and not last[0].startswith(OURS):
            entered = last
        stack = stack.tb_next
    return entered, last

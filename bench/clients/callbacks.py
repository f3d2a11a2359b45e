"""What a client does, by a library that calls back."""

from __future__ import annotations

from typing import Any, Callable

from bench.clients import REQUESTS_AHEAD
from bench.clients.options import Options


class Conversation:
    """What is said on one connection.

    Args:
        options: Those of the command line.
        send: Sends a message: str as text, bytes as binary.
        answered: Called when the reply has come, in the load ``hold``.
    """

    def __init__(
        self, options: Options, send: Callable[[Any], Any], answered: Callable[[], Any]
    ) -> None:
        self._message, self._send, self._answered = options.message, send, answered
        self._replies = self._left = options.replies
        self.onmessage: Callable[[Any], Any] = {
            "": send,  # a case
            "echo": self._again,
            "stream": self._count,
            "hold": self._check,
            "connect": self._check,
        }["" if options.agent else options.load]
        """What is to be called with each message."""
        self._requests = {"stream": REQUESTS_AHEAD, "connect": 0}.get(options.load, 1)
        if options.agent:
            self._requests = 0

    def begin(self) -> None:
        """Send the first message. The connection is open."""
        for _ in range(self._requests):
            self._send(self._message)

    def _again(self, message: Any) -> None:
        self._send(self._message)

    def _count(self, message: Any) -> None:
        self._left -= 1
        if not self._left:
            self._left = self._replies
            self._send(self._message)

    def _check(self, message: Any) -> None:
        if message != self._message:
            raise AssertionError("another message has come back")
        self._answered()

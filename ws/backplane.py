"""`Backplane`, the interface that joins servers; and the encoding of messages between them."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from typing import Any, Callable, List, Optional, Tuple

from .wire.message import PreparedMessage

Messages = List[Tuple[Optional[str], bytes]]
"""Pairs (room, message). The room None is all clients."""

_ENVELOPE = struct.Struct("!bI")  # compress, -1 for None; length of the excluded room's name


class Backplane(ABC):
    """Joins servers, so that a message reaches the clients of all of them.

    A room is a string. None stands for all clients. Any thread may call any method.
    `redis.RedisBackplane` implements this class.
    """

    lock: Any = None
    """The reentrant lock that `publish` and `count` take, or None. `WSServer.shutdown` doesn't wait
    in a signal handler that has interrupted a call which holds this lock."""

    @abstractmethod
    def start(self, deliver: Callable[[Messages], Any]) -> None:
        """Begin. Must not block.

        Args:
            deliver: A function to call with the messages that other servers publish. Calls must
                not overlap.
        """

    @abstractmethod
    def publish(self, room: str | None, message: bytes) -> None:
        """Send a message to all other servers with clients in the room. Never blocks or raises."""

    @abstractmethod
    def count(self, room: str | None, clients: int) -> None:
        """Note how many clients this server has in the room. Never blocks or raises."""

    @abstractmethod
    def presence(self, room: str | None) -> int:
        """Return how many clients all servers together have in the room."""

    @abstractmethod
    def stats(self) -> dict[str, Any]:
        """Return a snapshot of the state, as numbers and short strings."""

    @abstractmethod
    def stop(self, timeout: float) -> None:
        """Publish the messages that wait, and end within *timeout* seconds."""


def seal(frame: bytes, compress: bool | None, exclude: str) -> bytes:
    """Encode a message for other servers.

    Args:
        frame: The message, as one frame without compression.
        compress: As for `WSServer.send`.
        exclude: A room whose clients don't get it, or "".
    """
    room = exclude.encode(errors="surrogatepass")
    return _ENVELOPE.pack(-1 if compress is None else compress, len(room)) + room + frame


def unseal(message: bytes) -> tuple[PreparedMessage, str]:
    """Decode a message from another server. Return it, and the room that doesn't get it."""
    compress, length = _ENVELOPE.unpack_from(message)
    start = _ENVELOPE.size + length
    exclude = message[_ENVELOPE.size : start].decode(errors="surrogatepass")
    compressed = None if compress < 0 else bool(compress)
    return PreparedMessage(message[start:], compressed, shared=True), exclude

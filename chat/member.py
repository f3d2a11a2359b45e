"""A client of the chat: who it is, where it is, and how much it may still ask for."""

from __future__ import annotations

from chat.credits import Account, Bucket
from chat.protocol import Refused
from ws import Client

MAX_CREDITS = 20.0
"""The size of a client's token bucket, full at first. Each request takes its cost out of it."""
CREDITS_PER_SECOND = 4.0
MAX_REFUSALS = 10
"""A client that is refused more requests than these within a minute is closed."""
BLAMELESS = ("busy", "full", "gone", "store")
"""The codes of refusals that don't count, since the client could not know."""
FIRST_RETRY_SECONDS = 0.25
"""A client is told to wait for this long, and for twice as long each time it is refused again. So
one that waits as it is told is never closed."""
LONGEST_RETRY_SECONDS = 15.0
TOO_FAST = "You are writing too fast: wait a moment."


class Member:
    """A client, with its person, its room and its credits for requests."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.account: Account = client.data["account"]
        self.person = self.name = ""
        self.room = ""  # '' until it has entered one
        self.plain = client.subprotocol is None
        # The numbers of the last message and of the last event that its welcome includes.
        self.last_message = self.last_event = 0
        self._credits = Bucket(MAX_CREDITS, CREDITS_PER_SECOND)
        self._refusals = Bucket(MAX_REFUSALS, MAX_REFUSALS / 60)

    @property
    def channel(self) -> str:
        """The server's room in which this client gets events: as JSON, or as lines."""
        return lines_channel(self.room) if self.plain else json_channel(self.room)

    def public(self) -> dict[str, str]:
        """Return what others may know."""
        return {"id": self.person, "name": self.name}

    def spend(self, cost: float) -> None:
        """Take credits for a request. Raises Refused if there are too few."""
        seconds = self._credits.wait(cost)
        if seconds:
            raise Refused("slow", TOO_FAST, seconds)
        self._credits.take(cost)

    def blame(self, refusal: Refused) -> bool:
        """Count a refusal, and have the client wait. Return whether it has had too many."""
        if refusal.code in BLAMELESS:
            return False
        if self._refusals.wait(1):  # defence: chat-refusals
            return True
        before = round(self._refusals.taken())
        self._refusals.take(1)
        if refusal.retry_seconds:  # defence: chat-retry
            seconds = min(FIRST_RETRY_SECONDS * 2**before, LONGEST_RETRY_SECONDS)
            refusal.retry_seconds = max(refusal.retry_seconds, seconds)
        return False


def json_channel(room: str) -> str:
    return f"json:{room}"


def lines_channel(room: str) -> str:
    return f"lines:{room}"

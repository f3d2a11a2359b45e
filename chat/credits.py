"""What one address may ask for: credits that a reconnect doesn't renew.

There are two kinds of limits. Those of a client (`chat.room.Member`) are about people: how fast one
of them may write. Those here are about an address, and so about crowds: how much work all clients
of the address may cause together, and how much they may store and fetch. Many people can be behind
one address, so its limits are much wider than those of a client.

An IPv6 address counts by its network of 64 bits, since whoever has one address usually has all of
these. Clients of a reverse proxy that isn't trusted all have the proxy's address.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from typing import Any
from weakref import WeakValueDictionary

WORK_CREDITS = 1000.0
"""The size of an address's bucket of work, full at first. A credit is about 0.1 ms of CPU time."""
WORK_CREDITS_PER_SECOND = 200.0
"""Two hundredths of a core. A message to a room of a hundred costs six credits."""
TEXT_BYTES = 1 << 20
"""Bytes of messages that an address may store at once: two thousand of usual length."""
TEXT_BYTES_PER_HOUR = 4 << 20
"""And in the long run: about two messages of usual length per second."""
FILE_BYTES = 20 << 20
"""Bytes of files that an address may store at once, and again in each hour."""
FETCHED_BYTES = 512 << 20
"""Bytes of files that an address may fetch at once, and again in each hour."""
MAX_ADDRESSES = 10_000
"""Addresses that are remembered without having clients: those that connected last."""

DELIVERIES_PER_CREDIT = 20
DELIVERED_BYTES_PER_CREDIT = 256 << 10
ANSWER_BYTES_PER_CREDIT = 16 << 10
TEXT_CHARS_PER_CREDIT = 1 << 10
"""Of a request, which has to be parsed."""
CONTENT_BYTES_PER_CREDIT = 64 << 10
"""Of a piece of a file, which has not."""
MESSAGE_CREDITS = 0.1
"""For any message, in addition to that."""
HANDSHAKE_CREDITS = 2.0
HOUR = 3600.0


class Bucket:
    """A token bucket. Its user provides for mutual exclusion.

    Args:
        capacity: The most tokens that it holds; it is full at first.
        per_second: How many come back in a second.
    """

    __slots__ = ("_at", "_capacity", "_per_second", "_tokens")

    def __init__(self, capacity: float, per_second: float) -> None:
        self._capacity, self._per_second = capacity, per_second
        self._tokens, self._at = capacity, time.monotonic()

    def taken(self) -> float:
        """Return how many tokens are missing until it is full."""
        now = time.monotonic()
        earned = (now - self._at) * self._per_second
        self._tokens, self._at = min(self._tokens + earned, self._capacity), now
        return self._capacity - self._tokens

    def wait(self, amount: float) -> float:
        """Return the seconds until it has this many tokens, or is full; 0 if it has them now."""
        self.taken()
        return max(0.0, min(amount, self._capacity) - self._tokens) / self._per_second

    def take(self, amount: float) -> None:
        """Take tokens, even if too few are left. The debt is at most its capacity."""
        self.taken()
        self._tokens = max(self._tokens - amount, -self._capacity)


class Account:
    """The credits of one address. Any thread may call any method."""

    __slots__ = ("__weakref__", "_fetched", "_files", "_lock", "_text", "_work")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._work = Bucket(WORK_CREDITS, WORK_CREDITS_PER_SECOND)
        self._text = Bucket(TEXT_BYTES, TEXT_BYTES_PER_HOUR / HOUR)
        self._files = Bucket(FILE_BYTES, FILE_BYTES / HOUR)
        self._fetched = Bucket(FETCHED_BYTES, FETCHED_BYTES / HOUR)

    def work(self, credits: float) -> float:
        """Take credits for work, and return 0, or the seconds until the address is out of debt.

        As long as it isn't in debt, any request is served, and what it costs may become a debt. So
        the price may become known when the work is done.
        """
        with self._lock:
            debt = self._work.wait(0)
            self._work.take(credits)
            return debt

    def store_text(self, size: int) -> float:
        """Take credits for storing a message; return 0, or the seconds until there are enough."""
        with self._lock:
            seconds = self._text.wait(size)
            if not seconds:
                self._text.take(size)
            return seconds

    def wait_for_file(self, size: int) -> float:
        """Return 0 if a file may be stored, or the seconds until it may be. Take nothing."""
        with self._lock:
            return self._files.wait(size)

    def store_file(self, size: int) -> None:
        """Take credits for a file that is complete."""
        with self._lock:
            self._files.take(size)

    def fetch(self, size: int) -> float:
        """Take credits for bytes of a file, as `work` does for work."""
        with self._lock:
            debt = self._fetched.wait(0)
            self._fetched.take(size)
            return debt


class Accounts:
    """The accounts of all addresses that have clients, and of those that connected lately.

    Any thread may call any method.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._accounts: WeakValueDictionary[str, Account] = WeakValueDictionary()
        self._lately: OrderedDict[str, Account] = OrderedDict()  # the last one at the end

    def __len__(self) -> int:
        return len(self._accounts)

    def of(self, address: Any) -> Account:
        """Return the account of an address, as `ws.Request.address` has it.

        It stays the address's as long as somebody holds it.
        """
        network = network_of(address)
        with self._lock:
            account = self._accounts.get(network) or Account()
            self._accounts[network] = self._lately[network] = account
            self._lately.move_to_end(network)
            if len(self._lately) > MAX_ADDRESSES:  # defence: chat-addresses
                self._lately.popitem(last=False)
            return account


def network_of(address: Any) -> str:
    """Return what an address counts as: an IPv4 address, or the /64 of an IPv6 one.

    The peers of a Unix socket have no address, and count as one.
    """
    if not isinstance(address, tuple):
        return ""
    ip = ipaddress.ip_address(address[0].partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.version == 4:
        return str(ip)
    return str(ipaddress.ip_network((ip, 64), strict=False))  # defence: chat-ipv6-network


def price(message: str | bytes) -> float:
    """Return the credits for reading a message, whatever it asks for."""
    unit = TEXT_CHARS_PER_CREDIT if isinstance(message, str) else CONTENT_BYTES_PER_CREDIT
    return MESSAGE_CREDITS + len(message) / unit

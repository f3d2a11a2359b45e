"""Every limit of the server, in one place."""

from __future__ import annotations

from dataclasses import dataclass, fields

LARGEST = 10**12
"""Finite, but more than anybody needs. Clocks and counters are exact up to here."""


@dataclass(frozen=True)
class Limits:
    """Limits, passed to `WSServer` by name. All are finite. None is allowed where it says so.

    Raising a limit lets a peer use more memory, threads or time, once for each connection that
    it may have.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: A value is out of range.
    """

    max_message_size: int = 1 << 20
    """Bytes in one incoming message. A larger one is refused with close code 1009, as soon as its
    length is declared."""
    max_fragments: int = 1 << 17
    """Frames in one incoming message, empty ones included. One more is refused with 1009."""
    max_head_size: int = 16 << 10
    """Bytes in a request head, which may have 100 fields. A larger one is answered with 431, or
    with 414 if its first line is too long."""
    open_timeout: float = 10.0
    """Seconds from the TCP connection to a complete request, TLS included. Then it is closed."""
    close_timeout: float = 10.0
    """Seconds for the peer to answer a close frame, and again to end TCP. Then it is cut."""
    max_queue_size: int = 1 << 20
    """Bytes that may wait for one client. One message of any size may always wait. At this
    high-water mark, `send` waits, and `slow_client` says what `sendall` does."""
    send_timeout: float = 10.0
    """Seconds that `send` waits for room in a full queue. Then the client is cut."""
    slow_client: str = "close"
    """What `sendall` does with a client whose queue is full. 'close' cuts it. 'skip' keeps it, and
    leaves the message out without telling it."""
    max_clients: int = 10_000
    """Connections at the same time, handshakes included. One more is answered with 503."""
    max_clients_per_address: int = 1_000
    """The same for one IP address. One more is answered with 429. Without the option
    `trusted_proxies` of `WSServer`, all clients of a reverse proxy have the proxy's address."""
    threads: int = 64
    """Callbacks that may block at the same time, now and then one more. Others wait. All else
    continues: reading (up to 16 messages a client), pings, pongs, writing, deadlines, shutdown."""
    ping_interval: float | None = 20.0
    """Seconds between two pings to a client. At most one is on its way. With None there are no
    pings, and a peer that vanished keeps its place until something is sent to it."""
    ping_timeout: float = 20.0
    """Seconds after a ping in which something must come from the client, and some of the data
    that waits for it must leave. Otherwise it is cut, with close code 1006."""

    def __post_init__(self) -> None:
        if self.slow_client not in ("close", "skip"):
            raise ValueError(f"slow_client must be 'close' or 'skip', not {self.slow_client!r}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "slow_client" or (field.name == "ping_interval" and value is None):
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{field.name} must be a number, not {value!r}")
            if not 0 < value <= LARGEST:
                raise ValueError(f"{field.name} must be over 0 and at most 1e12, not {value!r}")
            if field.type == "int" and not isinstance(value, int):
                raise TypeError(f"{field.name} must be a whole number, not {value!r}")

"""Every limit of the server, in one place."""

from __future__ import annotations

from dataclasses import dataclass, fields

LARGEST = 10**12
"""Finite, but beyond any need; clocks and counters can be trusted up to here."""


@dataclass(frozen=True)
class Limits:
    """Limits, passed to `WSServer` by name. All are finite; None is allowed where it says so.

    A wrong value is a ValueError or TypeError at once. Raising a limit lets a peer use more
    memory, threads or time, for as many connections as it may have.
    """

    max_message_size: int = 1 << 20
    """Bytes in one incoming message. Close code 1009 as soon as the declared length is over it."""
    max_fragments: int = 1 << 17
    """Frames in one incoming message, empty ones too. Close code 1009 beyond."""
    max_head_size: int = 16 << 10
    """Bytes in a request head, with at most 100 fields. Status 431 (414 for its first line)."""
    open_timeout: float = 10.0
    """Seconds from the TCP connection, over TLS, to a complete request. Then it is cut."""
    close_timeout: float = 10.0
    """Seconds for the peer to answer a close frame, and then to close TCP. Then it is cut."""
    max_queue_size: int = 1 << 20
    """Bytes that may wait for a client to take them; one message of any size may always wait.
    At the bound `send` waits, and `sendall` does what `slow_client` says."""
    send_timeout: float = 10.0
    """Seconds that `send` waits for room in a full queue. Then the client is cut."""
    slow_client: str = "close"
    """What `sendall` does with a client whose queue is full: 'close' cuts it, 'skip' leaves
    this message out for it, so that it stays, and doesn't learn that something is missing."""
    max_clients: int = 10_000
    """Connections at a time, those in their handshake included. Status 503 beyond."""
    max_clients_per_address: int = 1_000
    """The same for one IP address. Status 429 beyond. Behind a reverse proxy, see the option
    `trusted_proxies` of `WSServer`; without it, all clients have the proxy's address."""
    threads: int = 64
    """Callbacks that may be blocked at a time. Beyond, callbacks wait; everything else goes on:
    reading (up to 16 messages a client), pings and pongs, writing, deadlines, shutdown."""
    ping_interval: float | None = 20.0
    """Seconds between two pings to a client; at most one is on its way. None for none: then a
    peer that vanished keeps its place until something is sent to it."""
    ping_timeout: float = 20.0
    """Seconds after a ping in which something must come from the client, and something leave
    for it where data waits. Then it is cut, with close code 1006."""

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

"""What each address takes of a server: connections, memory and time."""

from __future__ import annotations


class Share:
    """What the connections of one address take of a server together.

    Args:
        address: The IPv4 address, or the network of IPv6 (/64). Or "unknown" for clients whose
            proxy doesn't tell their address, and "" for the peers of a Unix socket.
    """

    __slots__ = ("address", "connections", "held", "used")

    def __init__(self, address: str = "") -> None:
        self.address: str = address
        self.connections: int = 0
        """How many connections the address has."""
        self.held: int = 0
        """Bytes of memory that these hold."""
        self.used: float = 0.0
        """Seconds of the leader's time that they have used lately."""


NOBODY = Share()
"""The share of sources that belong to the server itself, such as its listeners."""

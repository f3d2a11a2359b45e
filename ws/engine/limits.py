"""Every limit of the server, in one place."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Callable

from .machine import memory_bytes

LARGEST = 10**12
"""The largest value of a limit. It is more than anybody needs, and clocks are exact up to it."""
LEAST_PER_ADDRESS = 10
"""The default of `max_clients_per_address` is no lower, however few clients there may be."""
LEAST_MEMORY_BYTES = 64 << 20
"""The default of `max_memory` is no lower, however little the machine has."""
MESSAGES_IN_MEMORY = 8
"""Messages of `max_message_size` for which `max_memory` has to suffice: one of them may take five
times its size while it is decoded."""


@dataclass(frozen=True)
class Limits:
    """Limits, passed to `WSServer` by name. All are finite, but `ping_interval` may be None.

    A higher limit lets a peer use more memory, threads or time, for each of its connections. The
    values can't be changed later, so any thread may read them.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: A value is out of range.
    """

    max_message_size: int = 1 << 20
    """Bytes in one incoming message, after decompression. A larger message is refused with close
    code 1009, as soon as its declared length, or decompressing it, exceeds the limit."""
    max_fragments: int = 1 << 17
    """Frames in one incoming message, empty ones included. One more is refused with 1009."""
    max_head_size: int = 16 << 10
    """Bytes in a request head. A larger head, or one with over 100 fields, is answered with 431. If
    its first line is too long, or its target has over 8,192 bytes, it is answered with 414."""
    open_timeout: float = 10.0
    """Seconds from the TCP connection to a complete request, TLS handshake included. After that,
    the connection is closed. And as many again for `onrequest` to decide, the wait for a thread
    included. After that, the request is answered with 503."""
    close_timeout: float = 10.0
    """Seconds for the peer to answer a close frame, and as many again for it to end TCP. After
    that, the connection is cut. A page, or messages that are queued before the end, may take
    longer, as long as the peer takes 4 KiB of them for each of these seconds."""
    max_queue_size: int = 1 << 20
    """The high-water mark of a client's queue, in bytes: while more would wait to be sent to the
    client, `send` blocks. A message of any size is accepted if nothing waits. A client with more
    than this in its queue is too slow if it makes no progress for `send_timeout`; then
    `slow_client` decides what becomes of it. While it makes progress, messages are accepted."""
    send_timeout: float = 10.0
    """Seconds that `send` blocks at the high-water mark; then it queues the message all the same.
    And seconds in which a part of a longer queue must leave, or the client is too slow: `send`
    then cuts it. Where the system tells (Linux), leaving means that the peer has taken it;
    elsewhere, that the system has, which takes up to some megabytes at a time."""
    slow_client: str = "close"
    """What `sendall` does with a client that is too slow. 'close' cuts the client. 'skip' leaves
    the message out for this client, which isn't told; and it does so, too, if the client makes
    progress, but hasn't emptied its queue for `send_timeout`."""
    max_memory: int = None  # type: ignore[assignment]
    """Bytes of memory that all connections together may hold by their peers' doing: messages that
    are incomplete, or wait for a callback or for the peer to read them, bodies of responses, long
    request heads, and what zlib takes. The default, None, is a quarter of the machine's memory (of
    the container's, if its control group sets less), but at least 64 MiB and 8 times
    `max_message_size`, which is the least that may be given.

    When 3/4 are held, addresses that hold more than the average get no new connections (503), and
    of their connections, those that hold most are no longer read, but in turns. When all is held,
    connections of such addresses are cut, until 1/16 is free: first those that have made no
    progress for two seconds, and the largest first. The log gets a line. Besides, a connection
    takes about 3 KiB, and with TLS about 40 KiB."""
    max_clients: int = 10_000
    """Connections at the same time, handshakes included. The next 100 are answered with 503, any
    more are closed without an answer. `start` raises the process's limit on descriptors as far as
    they need it. If the system doesn't let it, fewer connections are accepted, which is logged."""
    max_clients_per_address: int = None  # type: ignore[assignment]
    """Connections from one IP address, or from one network of IPv6 (/64). The default, None, is a
    tenth of `max_clients`, but at least 10. The next 100 are answered with 429, any more are closed
    without an answer. Without the option `trusted_proxies` of `WSServer`, all clients of a reverse
    proxy have the proxy's address. As many as `max_clients` let one address take all places, which
    is logged."""
    threads: int = 64
    """Callbacks that may block at the same time; for a moment, it can be one more. Others wait.
    Meanwhile, the rest goes on: reading (up to 16 messages for each client), pings, pongs, writing,
    deadlines and shutdown."""
    ping_interval: float | None = 20.0
    """Seconds between two keepalive pings to a client, but at least `ping_timeout`: the next ping
    waits for the end of the last one's timeout. With None, there are no pings, and a peer that
    vanished is noticed only when something is sent to it."""
    ping_timeout: float = 20.0
    """Seconds after a ping in which some data must come from the client. If data is queued for the
    client, it is enough, and necessary, that some of it leaves. Otherwise the client is cut, with
    close code 1006. Clients on libcurl with `CURLOPT_CONNECT_ONLY`
    (8.23) keep their pong until they send something: have them send within this time, or pass a
    longer one, or `ping_interval=None`."""

    def __post_init__(self) -> None:
        self._derive("max_clients_per_address", "max_clients", _per_address)
        self._derive("max_memory", "max_message_size", _memory)
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
        least = min(MESSAGES_IN_MEMORY * self.max_message_size, LARGEST)
        if self.max_memory < least:
            raise ValueError(
                f"max_memory must be at least {least}, {MESSAGES_IN_MEMORY} times "
                f"max_message_size, not {self.max_memory}"
            )

    def _derive(self, name: str, of: str, default: Callable[[int], int]) -> None:
        """Set a limit that is None to what is its default for the value of another one."""
        value = getattr(self, of)
        if getattr(self, name) is None and isinstance(value, int):
            object.__setattr__(self, name, default(value))


def _per_address(max_clients: int) -> int:
    return max(LEAST_PER_ADDRESS, max_clients // 10)


def _memory(max_message_size: int) -> int:
    least = max(LEAST_MEMORY_BYTES, MESSAGES_IN_MEMORY * max_message_size)
    return min(max(least, memory_bytes() // 4), LARGEST)

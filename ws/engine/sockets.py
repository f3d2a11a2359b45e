"""The socket classes of clients, plain and TLS."""

from __future__ import annotations

import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any, Callable

from ..wire.http11 import Request

try:
    import fcntl
    from termios import TIOCOUTQ as SIOCOUTQ
except ImportError:  # Windows
    pass

if TYPE_CHECKING:
    _Socket = socket.socket
else:
    _Socket = object


class Client(_Socket):
    """A connected client, as callbacks get it: a socket, plain or TLS.

    Send by `WSServer.send`, and close by `WSServer.close`, from any thread. The socket's own `send`
    bypasses the framing, and its own `close` cuts the connection without a closing handshake. The
    attributes may be read from any thread. The library sets them, without a lock.
    """

    request: Request
    """The HTTP request that opened the connection."""
    subprotocol: str | None = None
    """The subprotocol that was agreed on, if any (RFC 6455 §1.9)."""
    latency: float | None = None
    """Seconds from the last ping to its pong. None before the first pong."""
    close_code: int | None = None
    """The code with which the connection ended (RFC 6455 §7.4). None before `onclose` is called.

    It is the code in the client's close frame, also if the server has closed: clients usually
    answer with the server's code, but some with 1000. 1005 is a close frame without a code, and
    1006 is none at all. If the client broke the protocol, it is the code that the server sent.
    `close_sent` and `close_received` say which side sent what.
    """
    close_reason: str = ""
    """The reason in the client's close frame, or what the server found wrong."""
    close_sent: int | None = None
    """The code in the close frame that the server sent, or was about to send when the connection
    was lost. None if it sent none. If the client has closed first, it is the client's code."""
    close_received: int | None = None
    """The code in the client's close frame, 1005 if the frame had none. None if no frame came."""
    _cut: Callable[[str], None] | None = None

    @property
    def data(self) -> dict[Any, Any]:
        """A dict for your own use. `request.data` is the same dict.

        A client's own callbacks need no lock for it, since they run one at a time.
        """
        return self.request.data

    def getpeername(self) -> Any:
        """Return the client's address, as a trusted proxy reports it if there is one.

        This works after the client has left, too.
        """
        return self._address if "_address" in self.__dict__ else super().getpeername()

    def close(self) -> None:
        """Cut the connection. `onclose` follows."""
        cut = self._cut
        if cut is None:
            super().close()
        else:
            cut("closed as a socket")

    # For the library

    def attach(self, address: Any, cut: Callable[[str], None]) -> None:
        """Set the peer's address, and have `close` call *cut* with a reason."""
        self._address, self._cut = address, cut

    def dispose(self) -> None:
        """Close the descriptor."""
        self._cut = None
        super().close()


def unacknowledged(sock: socket.socket) -> int:
    """Return how many bytes the system has taken, but not passed on to the peer's system yet.

    It is 0 where the system can't tell.
    """
    try:
        return int.from_bytes(fcntl.ioctl(sock.fileno(), SIOCOUTQ, bytes(4)), sys.byteorder)
    except (NameError, OSError):
        return 0


class PlainClient(Client, socket.socket):
    """A client on a plain socket."""


class TLSClient(Client, ssl.SSLSocket):
    """A client on a TLS socket."""

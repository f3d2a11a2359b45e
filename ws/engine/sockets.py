"""The socket classes of clients, plain and TLS."""

from __future__ import annotations

import socket
import ssl
import struct
import sys
from typing import TYPE_CHECKING, Any, Callable

from ..wire.http11 import Request

if sys.platform == "linux":
    import fcntl
    import termios

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

    def untaken(self) -> int:
        """Return the bytes in the system's buffer that the peer hasn't taken yet.

        0 where the system doesn't tell. Linux does (SIOCOUTQ, tcp(7)).
        """
        if sys.platform != "linux":
            return 0
        size: int = struct.unpack("i", fcntl.ioctl(self, termios.TIOCOUTQ, bytes(4)))[0]
        return size

    def dispose(self) -> None:
        """Close the descriptor."""
        self._cut = None
        super().close()


class PlainClient(Client, socket.socket):
    """A client on a plain socket."""


class TLSClient(Client, ssl.SSLSocket):
    """A client on a TLS socket."""

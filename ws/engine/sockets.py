"""The socket classes that clients are, plain and TLS."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any, Callable

from ..wire.http11 import Request

if TYPE_CHECKING:
    _Socket = socket.socket
else:
    _Socket = object


class Client(_Socket):
    """A client, as callbacks get it: a socket, plain or TLS.

    Use `WSServer.send` and `WSServer.close`. This socket's own `send` bypasses the framing, and
    its own `close` cuts the connection without a closing handshake.
    """

    request: Request
    """The client's request."""
    subprotocol: str | None = None
    """The subprotocol that was agreed on, if any (RFC 6455 §1.9)."""
    latency: float | None = None
    """Seconds that the last ping took to come back. None before the first pong."""
    close_code: int | None = None
    """Why the client left (RFC 6455 §7.4). Set when `onclose` is called, None before."""
    close_reason: str = ""
    """The reason that came with the code, or what the server noticed."""
    _cut: Callable[[str], None] | None = None

    @property
    def data(self) -> dict[Any, Any]:
        """A dict for your own use. `request.data` is the same dict."""
        return self.request.data

    def getpeername(self) -> Any:
        """Return the client's address. Works after the client has left, too."""
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
        """Take *address* for the peer's, and have `close` call *cut* with a reason."""
        self._address, self._cut = address, cut

    def dispose(self) -> None:
        """Close the descriptor."""
        self._cut = None
        super().close()


class PlainClient(Client, socket.socket):
    """A client on a plain socket."""


class TLSClient(Client, ssl.SSLSocket):
    """A client on a TLS socket."""

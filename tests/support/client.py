"""A `WSClient` that is connected at once, and waits for a message with a deadline."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from tests.support.waiting import DEADLINE
from ws import WSClient


class Client(WSClient):
    """A client of a server on this machine, for tests that are about something else than frames.

    Args:
        port: The server's port.
        path: The path, with the query.
        host: The server's name or address. It is localhost with TLS, as in the certificates.
        source: The address to connect from; "" lets the system choose.
        ssl_context: For TLS.
        options: Further ones of `WSClient`.
    """

    def __init__(
        self,
        port: int,
        path: str = "/",
        *,
        host: str = "127.0.0.1",
        source: str = "",
        ssl_context: ssl.SSLContext | None = None,
        **options: Any,
    ) -> None:
        server = f"ws://{host}" if ssl_context is None else "wss://localhost"
        if source:
            options["sock"] = socket.create_connection(("127.0.0.1", port), DEADLINE, (source, 0))
        options = {"open_timeout": DEADLINE, "proxy": None, **options}
        super().__init__(f"{server}:{port}{path}", ssl_context=ssl_context, **options)
        self.start()

    def recv(self, timeout: float | None = DEADLINE) -> Any:
        return super().recv(timeout)

    def __enter__(self) -> Client:
        return self

"""The chat's WebSocket server, its limits, and the page that it serves on the same port."""

from __future__ import annotations

import ipaddress
import math
from pathlib import Path
from typing import Any, Sequence

from chat.credits import HANDSHAKE_CREDITS, Accounts
from chat.protocol import MAX_MESSAGE_BYTES, SUBPROTOCOL
from ws import Request, Response, WSServer

MAX_CLIENTS = 1000
ADDRESS_SHARE = 4
"""One address may have a quarter of the clients, but at least the next."""
LEAST_PER_ADDRESS = 10
MAX_MEMORY_MIB = 128
"""Memory that all connections together may hold, by default."""
PATIENCE_SECONDS = 1.0
"""An address that is deeper in debt gets no more connections."""
MAX_QUEUE_BYTES = 2 << 20
"""May wait for one client. Enough for the longest welcome, and for messages that come meanwhile."""
PING_SECONDS = 10.0
"""Clients are pinged at this interval, and have as long to answer, so that the others soon see
that somebody has vanished."""

PAGE = Path(__file__).resolve().with_name("page")
SCRIPTS = ("view", "me", "connection", "log", "outbox", "files", "chat")
CONTENT_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "chat.css": "text/css; charset=utf-8",
    **{f"{name}.js": "text/javascript; charset=utf-8" for name in SCRIPTS},
}
"""The files of the page."""
HEADERS = {
    # ws: and wss: because older Safari doesn't count them as 'self'
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src blob: data:; connect-src 'self' ws: wss: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def make_server(
    host: str = "",
    port: int = 8000,
    cert: str | None = None,
    key: str | None = None,
    *,
    origins: Sequence[str] = (),
    files: bool | None = None,
    max_clients: int = MAX_CLIENTS,
    max_clients_per_address: int | None = None,
    max_memory: int = MAX_MEMORY_MIB << 20,
    **options: Any,
) -> WSServer:
    """Return a server for a `chat.room.Chat`, not started yet. The options are those of `WSServer`.

    It doesn't compress: a hundred bytes that inflate to 64 KiB would cost as much as 64 KiB.

    Args:
        host: See `WSServer`.
        port: See `WSServer`.
        cert: See `WSServer`.
        key: See `WSServer`.
        origins: Pages that may connect, besides those of this host.
        files: Whether pages opened from a file may connect. By default, they may where the browser
            runs on this machine, and knows it as localhost.
        max_clients: See `WSServer`.
        max_clients_per_address: By default, a quarter of that, but at least 10.
        max_memory: See `WSServer`.
        **options: See `WSServer`.
    """
    if max_clients_per_address is None:
        share = max_clients // ADDRESS_SHARE  # defence: chat-places
        max_clients_per_address = max(LEAST_PER_ADDRESS, share)
    server = WSServer(
        host,
        port,
        cert,
        key,
        subprotocols=SUBPROTOCOL,
        origins=[*origins, *([] if files is False else ["null"])],
        max_message_size=MAX_MESSAGE_BYTES,
        max_queue_size=MAX_QUEUE_BYTES,
        max_clients=max_clients,
        max_clients_per_address=max_clients_per_address,
        max_memory=max_memory,
        ping_interval=PING_SECONDS,
        ping_timeout=PING_SECONDS,
        **options,
    )
    pages, accounts = read_pages(), Accounts()

    @server.onrequest
    def respond(request: Request) -> Response | None:
        if request.is_upgrade:
            from_file = request.headers.get("origin") == "null"
            if from_file and files is None and not is_local(request):  # defence: chat-null-origin
                return Response(403, "pages opened from a file may connect with --file only\n")
            # defence: chat-account
            account = request.data["account"] = accounts.of(request.address)
            seconds = account.work(HANDSHAKE_CREDITS)
            if seconds > PATIENCE_SECONDS:  # defence: chat-handshake
                retry = {"Retry-After": str(math.ceil(seconds))}
                return Response(429, "too much came from your address\n", retry)
            return None
        if request.method not in ("GET", "HEAD"):
            return None
        return pages.get(request.path) or Response(404, "not found\n", HEADERS)

    return server


def is_local(request: Request) -> bool:
    """Say whether a request comes from this machine, and calls it by a name of its own only.

    Other sites' frames can have the origin "null", as pages from a file do. They reach such a name
    only where the browser's user has started the chat.
    """
    name = request.headers.get("host", "").lower()
    name = name.rpartition(":")[0] if name.rpartition(":")[2].isdigit() else name
    address = request.address[0] if isinstance(request.address, tuple) else "::1"
    ip = ipaddress.ip_address(address.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.is_loopback and name in ("localhost", "127.0.0.1", "[::1]")


def read_pages() -> dict[str, Response]:
    """Return the responses by path."""
    pages = {
        f"/{name}": Response(200, (PAGE / name).read_bytes(), HEADERS, content_type)
        for name, content_type in CONTENT_TYPES.items()
    }
    pages["/"] = pages["/index.html"]
    return pages

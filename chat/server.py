"""The chat's WebSocket server, its limits, and the page that it serves on the same port."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

from chat.protocol import MAX_FILE_BYTES, MAX_REQUEST_CHARS, SUBPROTOCOL
from ws import Request, Response, WSServer

MAX_CLIENTS = 1000
MAX_QUEUE_BYTES = 4 << 20
"""Bytes that may wait for a client: the longest welcome, and the messages during its sending."""
PING_SECONDS = 10.0
"""Seconds between pings, and to answer one, so that who has vanished soon leaves the room."""

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
    origins: Sequence[str] | None = None,
    max_clients: int = MAX_CLIENTS,
    **options: Any,
) -> WSServer:
    """Return a server for a `chat.room.Chat`, not started yet; the options are `WSServer`'s.

    Args:
        origins: by default "null", which is a page opened from a file. It is safe here, since
            the chat knows neither cookies nor passwords that such a page could misuse.
    """
    server = WSServer(
        host,
        port,
        cert,
        key,
        subprotocols=SUBPROTOCOL,
        origins=["null"] if origins is None else origins,
        compression=True,
        max_message_size=MAX_FILE_BYTES + MAX_REQUEST_CHARS,
        max_queue_size=MAX_QUEUE_BYTES,
        max_clients=max_clients,
        ping_interval=PING_SECONDS,
        ping_timeout=PING_SECONDS,
        **options,
    )
    pages = read_pages()

    @server.onrequest
    def respond(request: Request) -> Response | None:
        if request.is_upgrade or request.method not in ("GET", "HEAD"):
            return None
        return pages.get(request.path) or Response(404, "not found\n", HEADERS)

    return server


def read_pages() -> dict[str, Response]:
    """Return the responses by path."""
    pages = {
        f"/{name}": Response(200, (PAGE / name).read_bytes(), HEADERS, content_type)
        for name, content_type in CONTENT_TYPES.items()
    }
    pages["/"] = pages["/index.html"]
    return pages

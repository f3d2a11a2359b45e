"""The chat's server: arguments, pages, and the process. What a message does is in `room`."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import sys
import webbrowser
from pathlib import Path

from chat.room import MAX_FILE, MAX_REQUEST, SUBPROTOCOL, Chat
from chat.store import Store
from ws import Request, Response, WSServer

MAX_CLIENTS = 1000
QUEUE_SIZE = 4 << 20
"""Bytes that may wait for a client: the longest welcome, and what is said while it takes that."""
PING_SECONDS = 10.0
"""So often clients are pinged, and so long they have to answer: who vanished leaves soon."""

SCRIPTS = ("view", "me", "connection", "log", "outbox", "files", "chat")
FILES = {
    "index.html": "text/html; charset=utf-8",
    "chat.css": "text/css; charset=utf-8",
    **{f"{name}.js": "text/javascript; charset=utf-8" for name in SCRIPTS},
}
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
    origins: list[str] | None = None,
    store: Store | None = None,
    title: str = "Chat",
) -> WSServer:
    """Return a chat server that isn't started yet.

    The arguments are those of `WSServer`, and: store, the history, by default in memory; title,
    the chat's name.
    """
    # A page opened from a file says "null"; without cookies or passwords there is no name for
    # it to act in.
    server = WSServer(
        host,
        port,
        cert,
        key,
        subprotocols=SUBPROTOCOL,
        origins=["null"] if origins is None else origins,
        compression=True,
        max_message_size=MAX_FILE + MAX_REQUEST,
        max_queue_size=QUEUE_SIZE,
        max_clients=MAX_CLIENTS,
        ping_interval=PING_SECONDS,
        ping_timeout=PING_SECONDS,
    )
    Chat(server, store or Store(), title)
    pages = read_pages()

    @server.onrequest
    def page(request: Request) -> Response | None:
        if request.is_upgrade or request.method not in ("GET", "HEAD"):
            return None
        return pages.get(request.path) or Response(404, "not found\n", HEADERS)

    return server


def read_pages() -> dict[str, Response]:
    """Return what is served, by path."""
    folder = Path(__file__).resolve().parent
    pages = {
        "/" + name: Response(200, (folder / name).read_bytes(), HEADERS, content_type)
        for name, content_type in FILES.items()
    }
    pages["/"] = pages["/index.html"]
    return pages


def port(text: str) -> int:
    """Return a port given as text."""
    number = int(text)
    if not 0 <= number <= 65535:
        raise ValueError
    return number


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        prog="chat",
        description="A chat: open the printed URL, or the file index.html, in two tabs.",
        epilog="Anyone who reaches the port can chat: pages of this host, programs, and, unless "
        "--origin is given, pages opened from a file (origin 'null', which sandboxed frames of "
        "any site have too).",
    )
    parser.add_argument(
        "port", nargs="?", type=port, default=8000, help="default: 8000; 0: a free one"
    )
    parser.add_argument("--host", default="", help="address to listen on; default: all")
    parser.add_argument("--cert", help="certificate chain in PEM, for https:// and wss://")
    parser.add_argument("--key", help="its private key in PEM, if that isn't in the same file")
    parser.add_argument(
        "--db", metavar="FILE", help="keep the history in this SQLite database; default: in memory"
    )
    parser.add_argument(
        "--origin",
        action="append",
        metavar="ORIGIN",
        help="pages that may connect besides those of this host, as https://example.org; 'null': "
        "pages opened from a file, '*': any, 'self': no others; may be repeated; default: null",
    )
    parser.add_argument("--name", default="Chat", help="what the page calls the chat")
    parser.add_argument("--open", action="store_true", help="open it in a browser")
    arguments = parser.parse_args()
    if arguments.key and not arguments.cert:
        parser.error("--key needs --cert")
    return arguments


def main() -> int:
    """Serve until Ctrl-C; return the exit code."""
    arguments = parse_arguments()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as `run` does, but from the start
    try:
        try:
            store = Store(arguments.db)
            server = make_server(
                arguments.host,
                arguments.port,
                arguments.cert,
                arguments.key,
                origins=arguments.origin,
                store=store,
                title=arguments.name,
            )
            server.start()
        except OSError as error:
            return fail(error.strerror or str(error))
        with contextlib.closing(store), server:
            url = server.url.replace("ws", "http", 1)
            print(f"Chat on {url} (Ctrl-C ends it)", flush=True)
            if arguments.open:
                webbrowser.open(url)
            server.run()
    except KeyboardInterrupt:  # before `run`, or a second one that cuts its shutdown short
        pass
    return 0


def fail(message: str) -> int:
    """Say what is wrong; return the exit code."""
    print(f"chat: {message}", file=sys.stderr)
    return 2

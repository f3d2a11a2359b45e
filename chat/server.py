"""One room: what anyone says goes to everyone, and a newcomer gets what was said last."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections import deque
from pathlib import Path

from ws import Client, Request, Response, WSServer

HISTORY = 50
"""Messages that a newcomer gets."""
MESSAGE_SIZE = 16 << 10
"""Bytes in a message, at most. A whole history of them fits into a client's empty queue (the
limit `max_queue_size`), so sending it never waits for the client."""
ROOM = "chat"

FILES = {
    "index.html": "text/html; charset=utf-8",
    "chat.css": "text/css; charset=utf-8",
    "chat.js": "text/javascript; charset=utf-8",
}
HEADERS = {
    # ws: and wss: because older Safari doesn't count them as 'self'
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src data:; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def make_server(
    host: str = "", port: int = 8000, cert: str | None = None, key: str | None = None
) -> WSServer:
    """Return a chat server that isn't started yet; the arguments are those of `WSServer`."""
    # A page opened from a file says "null"; without cookies or passwords there is no name for
    # it to act in.
    server = WSServer(host, port, cert, key, origins="null", max_message_size=MESSAGE_SIZE)
    pages = read_pages()
    history: deque[str] = deque(maxlen=HISTORY)
    # Held while a message enters the history and everyone's queue, so that the history and all
    # clients have the same order.
    lock = threading.Lock()

    @server.onrequest
    def page(request: Request) -> Response | None:
        if request.is_upgrade or request.method not in ("GET", "HEAD"):
            return None
        return pages.get(request.path) or Response(404, "not found\n", HEADERS)

    @server.onopen
    def enter(client: Client) -> None:
        # A client is in `server.clients` before this is called: the room is what keeps it from
        # getting a message both live and in the history.
        with lock:
            for message in history:
                server.send(client, message)
            server.join(client, ROOM)

    @server.onmessage
    def say(client: Client, message: str | bytes) -> None:
        if isinstance(message, bytes):
            server.close(client, 1003, "text only")
        elif message.strip():
            with lock:
                history.append(message)
                server.sendall(message, to=ROOM)

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


def main() -> int:
    """Serve until Ctrl-C; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="chat",
        description="A chat: open the printed URL, or the file index.html, in two tabs.",
        epilog="Anyone who reaches the port can chat: pages of this host, programs, and pages "
        "opened from a file (origin 'null', which sandboxed frames of any site have too).",
    )
    parser.add_argument(
        "port", nargs="?", type=port, default=8000, help="default: 8000; 0: a free one"
    )
    parser.add_argument("--host", default="", help="address to listen on; default: all")
    parser.add_argument("--cert", help="certificate chain in PEM, for https:// and wss://")
    parser.add_argument("--key", help="its private key in PEM, if that isn't in the same file")
    arguments = parser.parse_args()
    host, cert, key = arguments.host, arguments.cert, arguments.key
    if key and not cert:
        parser.error("--key needs --cert")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as `run` does, but from the start
    try:
        try:
            server = make_server(host, arguments.port, cert, key)
            server.start()
        except OSError as error:
            return fail(error.strerror or str(error))
        with server:
            print(f"Chat on {server.url.replace('ws', 'http', 1)} (Ctrl-C ends it)", flush=True)
            server.run()
    except KeyboardInterrupt:  # before `run`, or a second one that cuts its shutdown short
        pass
    return 0


def fail(message: str) -> int:
    """Say what is wrong; return the exit code."""
    print(f"chat: {message}", file=sys.stderr)
    return 2

"""The chat's server: arguments, pages, and the process. What a message does is in `room`."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from chat.room import MAX_FILE, MAX_REQUEST, SUBPROTOCOL, Chat
from chat.store import Store
from ws import Request, Response, WSServer

if TYPE_CHECKING:
    from chat.shared import RedisStore

LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"
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
    store: Store | RedisStore | None = None,
    title: str = "Chat",
    max_clients: int = MAX_CLIENTS,
    **options: Any,
) -> WSServer:
    """Return a chat server that isn't started yet.

    The arguments are those of `WSServer`, and: store, the history, by default in memory; title,
    the chat's name.
    """
    store = store or Store()
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
        max_clients=max_clients,
        ping_interval=PING_SECONDS,
        ping_timeout=PING_SECONDS,
        **options,
    )
    if isinstance(store, Store):
        Chat(server, store, title)
    else:
        from chat.shared import SharedChat  # noqa: PLC0415 - it needs the package redis

        SharedChat(server, store, title)
    pages = read_pages()

    @server.onrequest
    def page(request: Request) -> Response | None:
        if request.is_upgrade or request.method not in ("GET", "HEAD"):
            return None
        return pages.get(request.path) or Response(404, "not found\n", HEADERS)

    return server


def read_pages() -> dict[str, Response]:
    """Return what is served, by path."""
    folder = Path(__file__).resolve().with_name("page")
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


def natural(text: str) -> int:
    """Return a whole number over 0 given as text."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def redis_url(text: str) -> str:
    """Return a URL that the package redis takes."""
    if not text.startswith(("redis://", "rediss://", "unix://")):
        raise argparse.ArgumentTypeError("a URL begins with redis://, rediss:// or unix://")
    return text


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
        "--redis",
        type=redis_url,
        metavar="URL",
        help="share rooms, people and history with all nodes on this Redis, as redis://localhost",
    )
    parser.add_argument(
        "--workers",
        type=natural,
        default=1,
        metavar="N",
        help="processes that share the port; more than one need --redis to share the rooms",
    )
    parser.add_argument(
        "--max-clients",
        type=natural,
        default=MAX_CLIENTS,
        metavar="N",
        help="at a time, in each process; default: %(default)s",
    )
    parser.add_argument(
        "--proxy",
        action="append",
        metavar="ADDRESS",
        help="a reverse proxy that tells clients' addresses; may be repeated",
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
    if arguments.workers > 1 and not arguments.redis:
        parser.error("--workers needs --redis: without it, each worker would have its own rooms")
    if arguments.redis and arguments.db:
        parser.error("the history is in --db or in --redis, not in both")
    return arguments


def make_store(arguments: argparse.Namespace) -> Store | RedisStore:
    """Return the history: in memory, in a file, or on Redis."""
    if not arguments.redis:
        return Store(arguments.db)
    from chat.shared import RedisStore  # noqa: PLC0415 - it needs the package redis

    return RedisStore(arguments.redis)


def serve(arguments: argparse.Namespace, serving: Callable[[WSServer], Any]) -> None:
    """Serve until `shutdown` or Ctrl-C; call serving(server) at the beginning."""
    options: dict[str, Any] = {}
    if arguments.redis:
        from ws.backplane import RedisBackplane  # noqa: PLC0415

        options["backplane"] = RedisBackplane(arguments.redis, prefix="chat:typing")
    with contextlib.closing(make_store(arguments)) as store:
        server = make_server(
            arguments.host,
            arguments.port,
            arguments.cert,
            arguments.key,
            origins=arguments.origin,
            store=store,
            title=arguments.name,
            trusted_proxies=arguments.proxy or (),
            reuse_port=arguments.workers > 1,
            max_clients=arguments.max_clients,
            **options,
        )
        with server:
            serving(server)
            server.run()


def announce(url: str, browse: bool) -> None:
    """Say where the chat is; on request, open it."""
    url = url.replace("ws", "http", 1)
    print(f"Chat on {url} (Ctrl-C ends it)", flush=True)
    if browse:
        webbrowser.open(url)


def main() -> int:
    """Serve until Ctrl-C; return the exit code."""
    arguments = parse_arguments()
    logging.basicConfig(format=LOG_FORMAT)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as `run` does, but from the start
    try:
        if arguments.workers > 1:
            from chat.workers import supervise  # noqa: PLC0415 - it imports this module

            return supervise(arguments)
        serve(arguments, lambda server: announce(server.url, arguments.open))
    except OSError as error:
        return fail(error.strerror or str(error))
    except ImportError as error:
        return fail(f"--redis needs the package redis ({error})")
    except KeyboardInterrupt:  # before `run`, or a second one that cuts its shutdown short
        pass
    return 0


def fail(message: str) -> int:
    """Say what is wrong; return the exit code."""
    print(f"chat: {message}", file=sys.stderr)
    return 2

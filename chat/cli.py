"""The command line, and the process that serves the chat until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import signal
import sys
import webbrowser
from typing import Any, Callable

from chat.cluster import workers
from chat.room import Chat
from chat.server import ADDRESS_SHARE, MAX_CLIENTS, MAX_MEMORY_MIB, make_server
from chat.store import SQLiteStore
from ws import WSServer

LOCAL_NAMES = ["localhost", "127.0.0.1", "::1"]
LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"


def main() -> int:
    """Serve until Ctrl-C; return the exit code."""
    arguments = parse_arguments()
    if arguments.workers > 1:
        return run(serve_with_workers, arguments)
    return run(serve, arguments, lambda server: announce(server.url, arguments.open))


def run(serve: Callable[..., int], *arguments: Any) -> int:
    """Call a function that serves; return the exit code. Print why it can't serve."""
    logging.basicConfig(format=LOG_FORMAT)
    # SIGTERM is handled like Ctrl-C. `WSServer.run` does this too, but only once it runs.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return serve(*arguments)
    except OSError as error:
        return fail(error.strerror or str(error))
    except ImportError as error:
        return fail(f"--redis needs the package redis ({error})")
    except KeyboardInterrupt:  # Ctrl-C before `WSServer.run`, or a second one during its shutdown
        return 0


def serve(arguments: argparse.Namespace, started: Callable[[WSServer], None]) -> int:
    """Serve in this process until Ctrl-C; call started(server) once clients can connect."""
    chat = make_shared_chat(arguments) if arguments.redis else make_chat(arguments)
    with contextlib.closing(chat.store), chat.server as server:
        started(server)
        server.run()
    return 0


def serve_with_workers(arguments: argparse.Namespace) -> int:
    """Serve in several processes until Ctrl-C."""
    with workers.reserved_port(arguments.host, arguments.port) as port:
        arguments.port = port
        return workers.supervise(
            arguments.workers,
            functools.partial(run, serve, arguments),
            lambda url: announce(url, arguments.open),
        )


def make_chat(arguments: argparse.Namespace) -> Chat:
    """Return a chat whose history is in memory or in a file."""
    server = make_server(**server_options(arguments))
    return Chat(server, SQLiteStore(arguments.db), arguments.name)


def make_shared_chat(arguments: argparse.Namespace) -> Chat:
    """Return a chat that shares its rooms with all nodes on the same Redis."""
    # Imported here because these need the package redis.
    from chat.cluster.redis_store import RedisStore  # noqa: PLC0415
    from chat.cluster.shared import SharedChat  # noqa: PLC0415
    from ws.redis import RedisBackplane  # noqa: PLC0415

    backplane = RedisBackplane(arguments.redis, prefix="chat:typing")
    server = make_server(**server_options(arguments), backplane=backplane)
    return SharedChat(server, RedisStore(arguments.redis), arguments.name)


def server_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `make_server`."""
    origins = set(arguments.origin or ())
    names = arguments.host_name
    if arguments.host in LOCAL_NAMES and not arguments.proxy:
        # Whatever name of an attacker's leads here; defence: chat-hosts
        names = names or LOCAL_NAMES
    return {
        "host": arguments.host,
        "port": arguments.port,
        "cert": arguments.cert,
        "key": arguments.key,
        "origins": sorted(origins - {"self", "null"}),
        "files": True if arguments.file or origins & {"null", "*"} else False if origins else None,
        "hosts": names,
        "trusted_proxies": arguments.proxy or (),
        "reuse_port": arguments.workers > 1,
        "max_clients": arguments.max_clients,
        "max_clients_per_address": arguments.max_clients_per_address,
        "max_memory": arguments.max_memory << 20,
    }


def announce(url: str, browse: bool) -> None:
    """Print where the chat is; open it in a browser on request."""
    url = url.replace("ws", "http", 1)
    print(f"Chat on {url} (Ctrl-C ends it)", flush=True)
    if browse:
        webbrowser.open(url)


def fail(message: str) -> int:
    """Print an error; return the exit code."""
    print(f"chat: {message}", file=sys.stderr)
    return 2


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        prog="chat",
        description="A chat: open the printed URL, or the file chat/page/index.html, in two tabs.",
        epilog="Anyone who reaches the port can chat: pages of this host, programs, and, on this "
        "machine, pages opened from a file (origin 'null', which sandboxed frames of any site have "
        "too).",
    )
    parser.add_argument(
        "port", nargs="?", type=port_number, default=8000, help="default: 8000; 0: a free one"
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
        type=positive,
        default=1,
        metavar="N",
        help="processes that share the port; more than one need --redis to share the rooms",
    )
    parser.add_argument(
        "--max-clients",
        type=positive,
        default=MAX_CLIENTS,
        metavar="N",
        help="clients at a time, in each process; default: %(default)s",
    )
    parser.add_argument(
        "--max-clients-per-address",
        type=positive,
        metavar="N",
        help="clients with the same IP address, or in the same IPv6 network of 64 bits; "
        f"default: 1/{ADDRESS_SHARE} of --max-clients",
    )
    parser.add_argument(
        "--max-memory",
        type=positive,
        default=MAX_MEMORY_MIB,
        metavar="MIB",
        help="memory that all connections of a process may hold together; default: %(default)s MiB",
    )
    parser.add_argument(
        "--proxy",
        action="append",
        metavar="ADDRESS",
        help="a trusted reverse proxy that reports clients' addresses; may be repeated",
    )
    parser.add_argument(
        "--host-name",
        action="append",
        metavar="NAME",
        help="a name by which browsers may call this server, as chat.example.org; may be repeated; "
        "default: any, or with a --host of this machine only, localhost",
    )
    parser.add_argument(
        "--origin",
        action="append",
        metavar="ORIGIN",
        help="pages that may connect besides those of this host, as https://example.org; "
        "'*': any, 'self': no others, not even those opened from a file; may be repeated",
    )
    parser.add_argument(
        "--file",
        action="store_true",
        help="let pages opened from a file connect from anywhere, and not on this machine only; "
        "the same as --origin null",
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


def port_number(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return int(text)


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1, not {text!r}")
    return int(text)


def redis_url(text: str) -> str:
    if not text.startswith(("redis://", "rediss://", "unix://")):
        raise argparse.ArgumentTypeError("a URL begins with redis://, rediss:// or unix://")
    return text

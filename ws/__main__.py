"""WebSockets from a terminal: ``python3 -m ws serve [port]``, ``python3 -m ws connect URL``."""

import argparse
import contextlib
import logging
import os
import sys
import threading
from typing import Tuple

from ws import HandshakeRefused, WSClient, WSServer

MAX_SIZE = 64 << 20
"""Bytes that a message may have, and that may wait to be sent."""


def serve(arguments: argparse.Namespace) -> None:
    """Echo until Ctrl-C."""
    server = WSServer(
        *(arguments.host, arguments.port, arguments.cert, arguments.key),
        origins=arguments.origin,
        compression=arguments.compress,
        max_message_size=MAX_SIZE,
        max_queue_size=MAX_SIZE,
    )
    server.onmessage(server.send)
    server.run()


def connect(arguments: argparse.Namespace) -> None:
    """Send the lines of the standard input, and print what comes, until Ctrl-C or the end."""
    client = WSClient(
        arguments.url,
        headers=dict(arguments.header),
        origin=arguments.origin,
        subprotocols=arguments.subprotocol,
        compression=arguments.compress,
        max_message_size=MAX_SIZE,
    )

    for stream in (sys.stdin, sys.stdout):
        with contextlib.suppress(AttributeError):  # it isn't a file
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]

    heard = threading.Event()

    @client.onmessage
    def show(message: object) -> None:
        heard.set()
        try:
            print(message, flush=True)
        except BrokenPipeError:  # as of `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            client.close()

    def send_lines() -> None:
        for line in sys.stdin:
            if not client.send(line.rstrip("\r\n")):
                return
        while heard.wait(arguments.wait):
            heard.clear()
        client.close()

    client.start()
    threading.Thread(target=send_lines, daemon=True).start()
    client.run()
    print(f"closed: {client.close_code} {client.close_reason}".rstrip(), file=sys.stderr)


def header(text: str) -> Tuple[str, str]:
    """Parse a header field of the command line."""
    name, colon, value = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"not NAME: VALUE: {text!r}")
    return name, value.strip()


def main() -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python3 -m ws", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="be an echo server", description=serve.__doc__)
    serving.set_defaults(run=serve)
    serving.add_argument("port", nargs="?", type=int, default=8000, help="default: 8000")
    serving.add_argument("--host", default="", help="address to listen on; default: all")
    serving.add_argument("--cert", help="certificate chain in PEM, for wss://")
    serving.add_argument("--key", help="its private key in PEM")
    serving.add_argument("--origin", action="append", default=[], help="pages that may connect")
    connecting = commands.add_parser("connect", help="be a client", description=connect.__doc__)
    connecting.set_defaults(run=connect)
    connecting.add_argument("url", help="ws://host:port/path, or wss://")
    connecting.add_argument(
        "--header", action="append", type=header, default=[], metavar="'NAME: VALUE'"
    )
    connecting.add_argument("--origin", help="page to pretend to be")
    connecting.add_argument("--subprotocol", action="append", default=[], help="name to offer")
    connecting.add_argument(
        *("--wait", "-w"),
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="after the last line, close when nothing has come for so long; default: 1",
    )
    for command in (serving, connecting):
        command.add_argument("--compress", action="store_true", help="offer permessage-deflate")
    words = sys.argv[1:]
    if not words or words[0] not in ("serve", "connect", "-h", "--help"):
        words = ["serve", *words]  # python3 -m ws [port]
    arguments = parser.parse_args(words)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    try:
        arguments.run(arguments)
    except (OSError, ValueError, HandshakeRefused) as error:
        print(f"ws: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

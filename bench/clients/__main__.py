"""Run one of the clients: see the package."""

from __future__ import annotations

import argparse
import importlib
import sys

from bench.clients import LOADS
from bench.clients.options import Options, end_with_stdin
from bench.peers import CLIENTS, MAX_MESSAGE_SIZE


def main() -> None:
    """Be a client until the standard input ends, or all cases have run."""
    parser = argparse.ArgumentParser(prog="python -m bench.clients", description="A client.")
    parser.add_argument("name", choices=CLIENTS)
    parser.add_argument("url")
    parser.add_argument("agent", nargs="?", help="the name in Autobahn's report")
    parser.add_argument("cases", nargs="*", help="cases of Autobahn's fuzzing server, to be run")
    parser.add_argument("--load", choices=LOADS, default="echo")
    parser.add_argument("--size", type=int, default=32, metavar="BYTES", help="of each message")
    parser.add_argument("--binary", action="store_true", help="binary messages instead of text")
    parser.add_argument("--replies", type=int, default=1, help="messages that answer a request")
    parser.add_argument("--compress", action="store_true", help="offer permessage-deflate")
    arguments = parser.parse_args()
    peer = CLIENTS[arguments.name]
    if arguments.compress and not peer.compression:
        sys.exit(f"{peer.name} has no compression")
    options = Options(
        peer=peer,
        url=arguments.url.rstrip("/") + "/",
        load=arguments.load,
        size=arguments.size,
        binary=arguments.binary,
        replies=arguments.replies,
        compress=arguments.compress,
        agent=arguments.agent or "",
        cases=tuple(arguments.cases),
        max_message_size=MAX_MESSAGE_SIZE,
    )
    if options.agent or options.load != "hold":
        end_with_stdin()
    importlib.import_module(f"bench.clients.{peer.client}").run(options)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass

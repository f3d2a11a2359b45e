"""Run one of the echo servers: see the package."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from pathlib import Path

from bench.peers import MAX_MESSAGE_SIZE, MODES, SERVERS
from bench.peers.options import Options


def main() -> None:
    """Serve until the standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description="An echo server.")
    parser.add_argument("name", choices=SERVERS)
    parser.add_argument("port", type=int, nargs="?", default=0)
    parser.add_argument("--compress", action="store_true", help="agree on permessage-deflate")
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"), help="PEM files, for wss://")
    parser.add_argument("--max-message-size", type=int, default=MAX_MESSAGE_SIZE, metavar="BYTES")
    parser.add_argument("--no-ping", action="store_true", help="switch the keepalive off")
    parser.add_argument(
        "--checkout", type=Path, metavar="FOLDER", help="import the package ws from here"
    )
    for mode, about in MODES.items():
        if mode != "echo":
            parser.add_argument(
                f"--{mode}", dest="mode", action="store_const", const=mode, help=about
            )
    arguments = parser.parse_args()
    peer = SERVERS[arguments.name]
    if arguments.tls and not peer.tls:
        sys.exit(f"{peer.name} has no TLS")
    if arguments.compress and not peer.compression:
        sys.exit(f"{peer.name} has no compression")
    options = Options(
        peer=peer,
        port=arguments.port,
        compress=arguments.compress,
        max_message_size=arguments.max_message_size,
        tls=arguments.tls,
        ping=not arguments.no_ping,
        mode=arguments.mode or "echo",
    )
    if arguments.checkout:
        use_checkout(arguments.checkout)
    importlib.import_module(f"bench.peers.{peer.module}").serve(options)


def use_checkout(folder: Path) -> None:
    """Have the package ws imported from a folder; end the process if it isn't there."""
    sys.path.insert(0, str(folder))
    found = importlib.util.find_spec("ws")
    if not found or not found.origin or Path(found.origin).parent != folder / "ws":
        sys.exit(f"no package ws in {folder}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass

"""An echo server: ``python3 -m ws [port]``."""

import argparse
import logging
import sys

from ws import WSServer


def main() -> int:
    """Serve until Ctrl-C; return the exit code."""
    parser = argparse.ArgumentParser(prog="python3 -m ws", description="A WebSocket echo server.")
    parser.add_argument("port", nargs="?", type=int, default=8000, help="default: 8000")
    parser.add_argument("--host", default="", help="address to listen on; default: all")
    parser.add_argument("--cert", help="certificate chain in PEM, for wss://")
    parser.add_argument("--key", help="its private key in PEM")
    parser.add_argument("--origin", action="append", default=[], help="pages that may connect")
    parser.add_argument("--compress", action="store_true", help="offer permessage-deflate")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    try:
        server = WSServer(
            *(arguments.host, arguments.port, arguments.cert, arguments.key),
            origins=arguments.origin,
            compression=arguments.compress,
            max_message_size=64 << 20,
            max_queue_size=64 << 20,
        )
        server.onmessage(server.send)
        server.run()
    except OSError as error:
        print(f"ws: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Our client as the suite's fuzzing server wants it: it connects for each case, and echoes.

``python -m conformance.echo_client URL AGENT CASE...``. The suite writes its report at the end.
"""

from __future__ import annotations

import argparse
import logging
import queue
import sys
from typing import Any, Callable

from conformance.echo import LIMITS
from tests.support.certificates import unverified_context
from ws import Compression, ConnectionClosed, HandshakeRefused, WSClient


def echo_blocking(client: WSClient) -> None:
    """Reply to what `recv` returns."""
    with client:
        try:
            while True:
                client.send(client.recv())
        except ConnectionClosed:
            pass


def echo_in_callbacks(client: WSClient) -> None:
    """Reply in the callback."""
    client.onmessage(client.send)
    client.run()


def echo_from_thread(client: WSClient) -> None:
    """Reply in a thread that gets the messages through a queue."""
    messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
    client.onmessage(messages.put)
    client.onclose(lambda: messages.put(None))
    client.start()
    for message in iter(messages.get, None):
        client.send(message)
    client.run()  # waits for the end


WAYS: dict[str, Callable[[WSClient], None]] = {
    "blocking": echo_blocking,
    "callbacks": echo_in_callbacks,
    "thread": echo_from_thread,
}


def main() -> int:
    """Run the cases; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m conformance.echo_client", description=__doc__)
    parser.add_argument("--way", choices=WAYS, default="blocking")
    parser.add_argument("--compress", action="store_true")
    parser.add_argument("--no-takeover", action="store_true", help="offer no context takeover")
    parser.add_argument("url")
    parser.add_argument("agent")
    parser.add_argument("cases", nargs="+")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    takeover = not arguments.no_takeover
    options: dict[str, Any] = {**LIMITS, "open_timeout": 60.0, "proxy": None}
    if arguments.url.startswith("wss:"):
        options["ssl_context"] = unverified_context()
    if arguments.compress:
        options["compression"] = Compression(
            level=1, server_context_takeover=takeover, client_context_takeover=takeover
        )
    for case in arguments.cases:
        path = f"/runCase?casetuple={case}&agent={arguments.agent}"
        try:
            WAYS[arguments.way](WSClient(arguments.url + path, **options))
        except HandshakeRefused as error:
            print(f"{case}: {error}", flush=True)
    path = f"/updateReports?agent={arguments.agent}"
    echo_blocking(WSClient(arguments.url + path, **options))
    return 0


if __name__ == "__main__":
    sys.exit(main())

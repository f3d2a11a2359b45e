"""Our echo server, with options for everything that is tested.

``python -m conformance.echo`` prints its URL once it serves, and ends when its standard input does.
"""

from __future__ import annotations

import argparse
import ast
import logging
import queue
import sys
import threading
import time
from typing import Any, Callable, Iterator

from tests.support.certificates import server_context
from ws import Compression, WSServer

LIMITS: dict[str, Any] = {
    "max_message_size": 64 << 20,  # 9.1 and 9.2 send 16 MiB
    "max_queue_size": 64 << 20,
    "max_fragments": 1 << 18,  # 9.3 and 9.4 send 65,537 of a message
    "ping_interval": None,  # a ping within a case would be taken for a part of the answer
}


def reply_at_once(server: WSServer) -> None:
    """Reply in the callback."""
    server.onmessage(server.send)


def reply_in_fragments(server: WSServer) -> None:
    """Reply with an iterable: a message in about six fragments, some of them empty."""

    def chunks(message: str | bytes) -> Iterator[str | bytes]:
        size = len(message) // 4 + 1
        yield message[:0]
        for start in range(0, len(message), size):
            yield message[start : start + size]
        yield message[:0]

    server.onmessage(lambda client, message: server.send(client, chunks(message)))


def reply_from_thread(server: WSServer) -> None:
    """Reply from another thread, which gets the messages through a queue."""
    messages: queue.SimpleQueue[tuple[Any, str | bytes]] = queue.SimpleQueue()

    def reply() -> None:
        while True:
            server.send(*messages.get())

    threading.Thread(target=reply, daemon=True).start()
    server.onmessage(lambda client, message: messages.put((client, message)))


def reply_slowly(server: WSServer) -> None:
    """Block before replying, so that other threads take the lead."""

    def reply(client: Any, message: str | bytes) -> None:
        time.sleep(0.01)
        server.send(client, message)

    server.onmessage(reply)


def reply_by_closing(server: WSServer) -> None:
    """Close with the code in the message, and send another message, which must not leave."""

    def reply(client: Any, message: str) -> None:
        server.close(client, int(message))
        server.send(client, "too late")

    server.onmessage(reply)


REPLIES: dict[str, Callable[[WSServer], None]] = {
    "at-once": reply_at_once,
    "in-fragments": reply_in_fragments,
    "from-thread": reply_from_thread,
    "slowly": reply_slowly,
    "by-closing": reply_by_closing,
}


def _option(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    return name, ast.literal_eval(value)


def main() -> int:
    """Serve until the standard input ends; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m conformance.echo", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--reply", choices=REPLIES, default="at-once")
    parser.add_argument("--compress", type=_option, nargs="*", metavar="SETTING=VALUE")
    parser.add_argument("--set", type=_option, nargs="*", default=[], metavar="OPTION=VALUE")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    options = {**LIMITS, **dict(arguments.set)}
    if arguments.tls:
        options["ssl_context"] = server_context()
    if arguments.compress is not None:
        options["compression"] = Compression(**dict(arguments.compress))
    server = WSServer("127.0.0.1", arguments.port, **options)
    REPLIES[arguments.reply](server)
    with server:
        print(server.url, flush=True)
        try:
            sys.stdin.read()
        except KeyboardInterrupt:
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())

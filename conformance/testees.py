"""Echo servers, one for each way through the library.

``python -m conformance.testees NAME [PORT]`` prints its URL once it serves, and ends when its
standard input does.
"""

from __future__ import annotations

import argparse
import logging
import queue
import ssl
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any, Callable, Iterator

from conformance.cases import select
from ws import WSServer

LIMITS: dict[str, Any] = {
    "max_message_size": 64 << 20,  # 9.1 and 9.2 send 16 MiB
    "max_queue_size": 64 << 20,
    "max_fragments": 1 << 18,  # 9.3 and 9.4 send 65,537 of a message
    "ping_interval": None,  # a ping within a case would be taken for a part of the answer
}


def echo(server: WSServer) -> None:
    """Reply in the callback."""
    server.onmessage(server.send)


def echo_fragments(server: WSServer) -> None:
    """Reply with an iterable: a message in some six fragments, empty ones among them."""

    def chunks(message: str | bytes) -> Iterator[str | bytes]:
        size = len(message) // 4 + 1
        yield message[:0]
        for start in range(0, len(message), size):
            yield message[start : start + size]
        yield message[:0]

    server.onmessage(lambda client, message: server.send(client, chunks(message)))


def echo_from_thread(server: WSServer) -> None:
    """Reply from a thread of our own, which gets the messages through a queue."""
    messages: queue.SimpleQueue[tuple[Any, str | bytes]] = queue.SimpleQueue()

    def reply() -> None:
        while True:
            server.send(*messages.get())

    threading.Thread(target=reply, daemon=True).start()
    server.onmessage(lambda client, message: messages.put((client, message)))


def echo_slowly(server: WSServer) -> None:
    """Reply after having blocked, so that other threads take the lead meanwhile."""

    def reply(client: Any, message: str | bytes) -> None:
        time.sleep(0.01)
        server.send(client, message)

    server.onmessage(reply)


@dataclass(frozen=True)
class Testee:
    """An echo server, and the cases that it must pass."""

    name: str
    about: str
    cases: list[str]
    setup: Callable[[WSServer], None] = echo
    tls: bool = False
    compression: bool = False
    default: bool = True
    """Whether it runs without being asked for."""


PLAIN = select("1", "2", "3", "4", "5", "6", "7", "9", "10")
ALL = [*PLAIN, *select("12", "13")]

TESTEES = {
    testee.name: testee
    for testee in (
        Testee("compressed", "permessage-deflate", ALL, compression=True),
        Testee("plain", "no extension", PLAIN),
        Testee("tls", "wss://", PLAIN, tls=True),
        Testee("tls-compressed", "both", ALL, tls=True, compression=True, default=False),
        Testee(
            "fragments",
            "replies as iterables",
            select("1", "2", "5", "6", "9.1", "9.2", "9.5", "9.6", "10"),
            echo_fragments,
        ),
        Testee(
            "thread",
            "replies from another thread",
            select("1", "2", "6.1", "6.2", "9", "10"),
            echo_from_thread,
        ),
        Testee(
            "blocking",
            "callbacks that block for 10 ms",
            select("1", "2", "3", "4", "5", "6", "7", "9.1", "9.2", "10"),
            echo_slowly,
        ),
    )
}


def make_server(testee: Testee, port: int) -> WSServer:
    """Return the testee's server, not yet started."""
    options = dict(LIMITS)
    if testee.tls:
        import trustme  # noqa: PLC0415

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("localhost", "127.0.0.1").configure_cert(context)
        options["ssl_context"] = context
    if testee.compression:
        options["compression"] = True
    server = WSServer("127.0.0.1", port, **options)
    testee.setup(server)
    return server


def main() -> int:
    """Serve until the standard input ends; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m conformance.testees", description=__doc__)
    parser.add_argument("name", choices=TESTEES)
    parser.add_argument("port", type=int, nargs="?", default=0)
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    with make_server(TESTEES[arguments.name], arguments.port) as server:
        print(server.url, flush=True)
        try:
            sys.stdin.read()
        except KeyboardInterrupt:
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())

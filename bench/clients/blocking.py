"""What a client does, by a library whose calls block."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

from bench.clients import REQUESTS_AHEAD
from bench.clients.options import Options, hold


class Connection(NamedTuple):
    """An open connection, as functions."""

    send: Callable[[Any], Any]
    """Takes str as text and bytes as binary."""
    recv: Callable[[], Any]
    close: Callable[[], Any]


Connect = Callable[[str], Connection]


def run(options: Options, connect: Connect) -> None:
    """Be a client.

    Args:
        options: Those of the command line.
        connect: Connects to a URL.
    """
    if options.agent:
        for url in options.case_urls:
            _case(url, connect)
    elif options.load == "hold":
        hold(lambda: _answered(options, connect))
    else:
        {"echo": _echo, "stream": _stream, "connect": _connect}[options.load](options, connect)


def _echo(options: Options, connect: Connect) -> None:
    send, recv, _ = connect(options.url)
    message = options.message
    while True:
        send(message)
        recv()


def _stream(options: Options, connect: Connect) -> None:
    send, recv, _ = connect(options.url)
    message = options.message
    for _ in range(REQUESTS_AHEAD - 1):
        send(message)
    while True:
        send(message)
        for _ in range(options.replies):
            recv()


def _connect(options: Options, connect: Connect) -> None:
    while True:
        connect(options.url).close()


def _answered(options: Options, connect: Connect) -> Connection:
    connection = connect(options.url)
    connection.send(options.message)
    if connection.recv() != options.message:
        raise AssertionError("another message has come back")
    return connection


def _case(url: str, connect: Connect) -> None:
    """Echo until the end, which the library tells by some exception."""
    try:
        connection = connect(url)
        try:
            while True:
                connection.send(connection.recv())
        finally:
            connection.close()
    except Exception as error:
        print(f"{url}: {error!r}", flush=True)

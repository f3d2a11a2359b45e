"""Several processes on one port, each with an interpreter of its own; one that dies is replaced."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import socket
import sys
import threading
import time
from multiprocessing.connection import Connection, wait
from typing import Callable, Iterator

from ws import WSServer

Serve = Callable[[Callable[[WSServer], None]], int]
"""Serves until the server shuts down; calls its argument once the server has started.

It returns an exit code, and can be pickled.
"""

RESTART_SECONDS = 1.0
"""The time after which a worker that died is replaced."""
SHUTDOWN_SECONDS = 10.0
"""Workers that haven't ended within this time are killed."""


class Worker:
    """A process that serves.

    It reports through the pipe that it has started. When the pipe is closed, it shuts down.
    """

    def __init__(self, serve: Serve) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(serve, theirs))
        self.process.start()
        theirs.close()


def supervise(count: int, serve: Serve, started: Callable[[str], None]) -> int:
    """Keep worker processes running until Ctrl-C.

    Args:
        count: how many processes.
        serve: what each of them runs.
        started: is called with the URL when all of them serve.

    Returns:
        The exit code, if a worker couldn't start.
    """
    workers: list[Worker] = []
    try:
        for _ in range(count):
            workers.append(Worker(serve))
        for worker in workers:
            try:
                url = worker.pipe.recv()
            except EOFError:  # it has said why
                return 2
        started(url)
        while True:
            wait([worker.process.sentinel for worker in workers])
            time.sleep(RESTART_SECONDS)
            for number, worker in enumerate(workers):
                if not worker.process.is_alive():
                    code = worker.process.exitcode
                    logging.error("worker %d ended with %s: here is another", number, code)
                    worker.pipe.close()
                    workers[number] = Worker(serve)
    finally:
        stop(workers)


@contextlib.contextmanager
def reserved_port(host: str, port: int) -> Iterator[int]:
    """Yield a port that all workers can share. If *port* is 0, choose a free one, and hold it."""
    if not hasattr(socket, "SO_REUSEPORT"):
        raise OSError("--workers needs SO_REUSEPORT, which this system lacks")
    if port:
        yield port
        return
    info = socket.getaddrinfo(host or "0.0.0.0", 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(*info[:3]) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(info[4])
        yield sock.getsockname()[1]


def stop(workers: list[Worker]) -> None:
    """Let the workers shut down, and wait for that."""
    for worker in workers:
        worker.pipe.close()
    deadline = time.monotonic() + SHUTDOWN_SECONDS
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        worker.process.kill()


def work(serve: Serve, pipe: Connection) -> None:
    """Serve, in a process of its own, until the process that started it is gone."""

    def started(server: WSServer) -> None:
        pipe.send(server.url)
        threading.Thread(target=shut_down_with, args=(server, pipe), daemon=True).start()

    sys.exit(serve(started))


def shut_down_with(server: WSServer, pipe: Connection) -> None:
    """Shut down when the other end of the pipe is closed, even by a SIGKILL."""
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()
    server.shutdown()

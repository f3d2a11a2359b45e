"""Several processes on one port, each with a Python of its own; one that dies is replaced."""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import signal
import socket
import threading
import time
from multiprocessing.connection import Connection, wait

from chat.server import LOG_FORMAT, announce, fail, serve
from ws import WSServer

PAUSE = 1.0
"""Seconds before a worker that died is replaced."""
SECONDS = 10.0
"""In which workers must end."""


class Worker:
    """A process that serves; a pipe tells us that it does, and tells it that we are gone."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(arguments, theirs))
        self.process.start()
        theirs.close()


def supervise(arguments: argparse.Namespace) -> int:
    """Keep `arguments.workers` processes at work until Ctrl-C; return the exit code."""
    if not hasattr(socket, "SO_REUSEPORT"):
        return fail("--workers needs SO_REUSEPORT, which this system lacks")
    workers: list[Worker] = []
    with contextlib.ExitStack() as stack:
        if not arguments.port:
            arguments.port = stack.enter_context(reserve(arguments.host)).getsockname()[1]
        stack.callback(end, workers)
        workers += [Worker(arguments) for _ in range(arguments.workers)]
        for worker in workers:
            try:
                url = worker.pipe.recv()
            except EOFError:  # it has said why
                return 2
        announce(url, arguments.open)
        while True:
            wait([worker.process.sentinel for worker in workers])
            time.sleep(PAUSE)
            for number, worker in enumerate(workers):
                if not worker.process.is_alive():
                    code = worker.process.exitcode
                    logging.error("worker %d ended with %s: here is another", number, code)
                    worker.pipe.close()
                    workers[number] = Worker(arguments)


def reserve(host: str) -> socket.socket:
    """Return a socket that keeps a free port for us; nobody can connect to it."""
    info = socket.getaddrinfo(host or "0.0.0.0", 0, type=socket.SOCK_STREAM)[0]
    sock = socket.socket(*info[:3])
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(info[4])
    return sock


def end(workers: list[Worker]) -> None:
    """Let the workers say goodbye to their clients, and end."""
    for worker in workers:
        worker.pipe.close()
    deadline = time.monotonic() + SECONDS
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        worker.process.kill()


def work(arguments: argparse.Namespace, pipe: Connection) -> None:
    """Serve, in a process of its own, until the one that started it is gone."""
    logging.basicConfig(format=LOG_FORMAT)
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def serving(server: WSServer) -> None:
        pipe.send(server.url)
        threading.Thread(target=leave_with, args=(server, pipe), daemon=True).start()

    try:
        serve(arguments, serving)
    except OSError as error:
        raise SystemExit(fail(error.strerror or str(error)))
    except ImportError as error:
        raise SystemExit(fail(f"--redis needs the package redis ({error})"))
    except KeyboardInterrupt:
        pass


def leave_with(server: WSServer, pipe: Connection) -> None:
    """Shut down once the other end of the pipe is closed, however that comes about."""
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()
    server.shutdown()

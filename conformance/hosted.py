"""Our echo server in a Flask application, whose connections gunicorn hands over.

``python -m conformance.hosted sync`` (or ``gthread``) prints its URL once it serves, and ends when
its standard input does.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from typing import Any

from flask import Flask, request
from gunicorn.app.base import BaseApplication

from conformance.echo import LIMITS
from ws import Compression, WSServer


def make_application(compression: Compression | None) -> Flask:
    """Return a Flask application that echoes."""
    application = Flask(__name__)
    server = WSServer(port=None, compression=compression or False, **LIMITS)
    server.onmessage(server.send)

    @application.route("/", websocket=True)
    def echo() -> Any:
        return server.upgrade(request.environ)

    return application


class Hosted(BaseApplication):
    """gunicorn with one worker.

    Args:
        options: Those of gunicorn.
        application: What it serves.
    """

    def __init__(self, options: dict[str, Any], application: Flask) -> None:
        self._options, self._application = options, application
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return self._application


def say_url(arbiter: Any) -> None:
    """Print the URL; called by gunicorn when it listens."""
    print(f"ws://127.0.0.1:{arbiter.LISTENERS[0].sock.getsockname()[1]}/", flush=True)


def end_with_input() -> None:
    """Stop this process when its standard input ends."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Serve until the standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m conformance.hosted", description=__doc__)
    parser.add_argument("worker", choices=("sync", "gthread"))
    parser.add_argument("--compress", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    options = {
        "bind": "127.0.0.1:0",
        "worker_class": arguments.worker,
        "threads": 4 if arguments.worker == "gthread" else 1,
        "loglevel": "warning",
        "control_socket_disable": True,
        "when_ready": say_url,
    }
    threading.Thread(target=end_with_input, daemon=True).start()
    Hosted(options, make_application(Compression(level=1) if arguments.compress else None)).run()


if __name__ == "__main__":
    main()

"""Real WSGI servers, each a process of its own; two are started by a function at the end."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from contextlib import suppress
from http.client import HTTPConnection
from typing import Any, Callable

from tests.support.processes import PORT, ServerProgram, free_port, module
from tests.support.rawclient import RawClient, connect
from tests.support.waiting import DEADLINE

START_SECONDS = 120.0
"""How long a server may take until it serves; long, as the frameworks are large."""
APPS = ("plain", "flask_app", "django_app")
HERE = f"127.0.0.1:{PORT}"


def gunicorn(app: str, *options: str) -> list[str]:
    """Return the command of gunicorn; without options, it has one worker of the kind sync."""
    common = ("--bind", HERE, "--access-logfile", "-", "--no-control-socket")
    return module("gunicorn", *common, *options, f"tests.wsgi.apps.{app}")


def gthread(app: str, *options: str) -> list[str]:
    """Return the command of gunicorn with a worker that has threads."""
    return gunicorn(app, "--threads", "3", *options)


def waitress(app: str, *options: str) -> list[str]:
    """Return the command of waitress, with four threads."""
    return module("waitress", f"--listen={HERE}", *options, f"tests.wsgi.apps.{app}:application")


def cheroot(app: str) -> list[str]:
    """Return the command of a program that serves by cheroot, with three threads."""
    return module("tests.wsgi.programs", "cheroot", app)


def wsgiref(app: str) -> list[str]:
    """Return the command of a program that serves by wsgiref, with one thread."""
    return module("tests.wsgi.programs", "wsgiref", app)


def werkzeug(app: str, *options: str) -> list[str]:
    """Return the command of Flask's development server: threads, no reloader."""
    return module("flask", f"--app=tests.wsgi.apps.{app}", "run", f"--port={PORT}", *options)


def debugged(app: str) -> list[str]:
    """Return the command of Flask's development server with debugger and reloader."""
    return module("flask", f"--app=tests.wsgi.apps.{app}", "run", f"--port={PORT}", "--debug")


def runserver(app: str) -> list[str]:
    """Return the command of Django's development server with its reloader."""
    return module(f"tests.wsgi.apps.{app}", "runserver", f"127.0.0.1:{free_port()}")


Command = Callable[[str], "list[str]"]
MATRIX: list[tuple[Command, str]] = [
    *((server, app) for server in (gunicorn, gthread, waitress, cheroot, wsgiref) for app in APPS),
    (werkzeug, "flask_app"),
    (debugged, "flask_app"),
    (runserver, "django_app"),
]


class Site(ServerProgram):
    """An application under a WSGI server.

    Args:
        command: That of the server.
        options: Options for the `WSServer`; `redis` is the URL for a backplane.
        env: More of the environment.
    """

    def __init__(
        self, command: list[str], env: dict[str, str] | None = None, **options: Any
    ) -> None:
        self.is_flask = any("flask" in part for part in command)
        env = {"PUSH": json.dumps(options), **(env or {})}
        super().__init__(command, env=env, patience_seconds=START_SECONDS)

    def close(self) -> None:
        """Kill it, and its workers or what its reloader has started."""
        if os.name == "posix":
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        super().close()

    def fetch(
        self, path: str, body: str | None = None, **headers: str
    ) -> tuple[int, str, dict[str, str]]:
        """Return status, body and headers of a page; with a body, POST."""
        http = HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            http.request("GET" if body is None else "POST", path, body, fields)
            response = http.getresponse()
            return response.status, response.read().decode(), dict(response.getheaders())
        finally:
            http.close()

    def state(self) -> dict[str, Any]:
        """Return the state of the process that answers."""
        state: dict[str, Any] = json.loads(self.fetch("/state")[1])
        return state

    def notify(self, text: str) -> int:
        """Have a text sent to all clients; return to how many."""
        number: int = json.loads(self.fetch("/notify", text)[1])
        return number

    def log_in(self) -> str:
        """Return the header field with a session's cookie."""
        status, _, headers = self.fetch("/login", "ann")
        assert status == 200
        return "Cookie: " + headers["Set-Cookie"].partition(";")[0]

    def connect(self, path: str = "/open", *fields: str) -> RawClient:
        """Return a client that has got an echo, so that nothing of the hand-over goes on."""
        client = connect(self.port, path, *fields)
        client.send("hello")
        assert client.recv() == "hello"
        return client


def serve(name: str, app: str) -> None:
    """Serve an application by a server that has no program of its own."""
    application = importlib.import_module(f"tests.wsgi.apps.{app}").application
    if name == "cheroot":
        from cheroot.wsgi import Server

        server = Server(("127.0.0.1", 0), application, numthreads=3)
        server.prepare()
        print(f"http://127.0.0.1:{server.bind_addr[1]}", file=sys.stderr, flush=True)
        try:
            server.serve()
        finally:
            server.stop()
        return
    if name == "processes":
        from werkzeug.serving import run_simple

        run_simple("127.0.0.1", 0, application, processes=2)
        return
    from wsgiref.simple_server import make_server

    with make_server("127.0.0.1", 0, application) as httpd:
        print(f"http://127.0.0.1:{httpd.server_port}", file=sys.stderr, flush=True)
        httpd.serve_forever()


if __name__ == "__main__":
    serve(*sys.argv[1:])

"""In any WSGI application: here one without a framework, served by the standard library."""

from __future__ import annotations

from typing import Any, Callable, Iterable
from wsgiref.simple_server import make_server

from ws import WSServer

push = WSServer(port=None)
push.onmessage(push.send)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/ws":
        return push.upgrade(environ)(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{len(push.clients)} clients\n".encode()]


if __name__ == "__main__":
    make_server("", 8000, application).serve_forever()

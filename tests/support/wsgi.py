"""Environs of handshakes, and WSGI applications that are called with nobody behind them."""

from __future__ import annotations

import io
from typing import Any


def environ(**changes: Any) -> dict[str, Any]:
    """Return the environ of a handshake, with some items changed; None leaves one out."""
    items: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/ws",
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "Test/1.0",
        "REMOTE_ADDR": "192.0.2.1",
        "REMOTE_PORT": "5000",
        "HTTP_HOST": "example.org",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        "wsgi.input": io.BytesIO(),
        "wsgi.url_scheme": "http",
        "wsgi.multiprocess": False,
    }
    items.update({name.replace("__", "."): value for name, value in changes.items()})
    return {name: value for name, value in items.items() if value is not None}


def called(answer: Any, method: str = "GET") -> tuple[str, dict[str, str], bytes]:
    """Call a WSGI application; return status, headers and body."""
    started: list[Any] = []
    body = answer({"REQUEST_METHOD": method}, lambda *arguments: started.append(arguments))
    ((status, headers),) = started
    return status, dict(headers), b"".join(body)

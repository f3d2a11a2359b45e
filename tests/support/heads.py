"""Heads of HTTP requests, which ask for a WebSocket or for something else."""

from __future__ import annotations

from ws.wire.http11 import Request, RequestReader

GET = "GET /chat HTTP/1.1"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
EXAMPLE = {
    "Host": "server.example.com",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}
"""The fields of the handshake in RFC 6455 §1.2."""
ACCEPT = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The field that answers the example's key (§1.3)."""


def plain(start: str, *lines: str) -> bytes:
    """Return a request of these lines."""
    return "\r\n".join([start, *lines, "", ""]).encode("latin-1")


def head(start: str = GET, *more: str, **changes: str | None) -> bytes:
    """Return the example's handshake with some fields changed, then more lines.

    Args:
        start: The request line.
        more: Further lines, after the example's fields.
        changes: New values by name, with "_" for "-"; None leaves the field out.
    """
    fields = {**EXAMPLE, **{name.replace("_", "-"): value for name, value in changes.items()}}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return plain(start, *lines, *more)


def request(path: str = "/", *fields: str, host: str = "localhost", method: str = "GET") -> bytes:
    """Return a handshake for this path, with further fields."""
    return head(f"{method} {path} HTTP/1.1", *fields, Host=host)


def parse(data: bytes) -> Request:
    """Return the library's request for a head that is complete, with nothing after it."""
    complete = RequestReader(10_000).feed(data)
    assert complete is not None
    request, rest = complete
    assert rest == b""
    return request

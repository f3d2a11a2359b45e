"""A chat in which each path is a room; README.md says how to start it."""

from __future__ import annotations

import sys
from pathlib import Path

from ws import Client, Request, Response, WSServer

HTML = Path(__file__).with_name("chat.html").read_text(encoding="utf-8")
PAGE = Response(200, HTML, content_type="text/html; charset=utf-8")
server = WSServer(port=int(sys.argv[1]) if len(sys.argv) > 1 else 8000)


@server.onrequest
def page(request: Request) -> Response | None:
    return None if request.is_upgrade else PAGE


@server.onopen
def enter(client: Client) -> None:
    server.join(client, client.request.path)


@server.onmessage
def say(client: Client, message: str) -> None:
    server.sendall(message, to=client.request.path)


server.run()

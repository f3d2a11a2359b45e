"""Ours in Flask."""

from __future__ import annotations

from typing import Any

from flask import Flask, request

from ws import WSServer

application = Flask(__name__)
push = WSServer(port=None, max_clients_per_address=10_000, ping_interval=None)
push.onmessage(push.send)


@application.route("/ws", websocket=True)
def ws() -> Any:
    return push.upgrade(request.environ)


@application.get("/")
def page() -> str:
    return "a page"


@application.post("/notify")
def notify() -> str:
    return str(push.sendall(request.get_data(as_text=True)))

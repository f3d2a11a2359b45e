"""flask-sock: a thread of the worker for each client."""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from flask_sock import ConnectionClosed, Sock

application = Flask(__name__)
sock = Sock(application)
clients: set[Any] = set()


@sock.route("/ws")
def echo(ws: Any) -> None:
    clients.add(ws)
    try:
        while True:
            ws.send(ws.receive())
    finally:
        clients.discard(ws)


@application.get("/")
def page() -> str:
    return "a page"


@application.post("/notify")
def notify() -> str:
    sent, text = 0, request.get_data(as_text=True)
    for ws in list(clients):
        try:
            ws.send(text)
            sent += 1
        except ConnectionClosed:
            pass
    return str(sent)

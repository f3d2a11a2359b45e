"""In Flask, with several workers as one server: `gunicorn --workers 4 --threads 4 flask_workers`.

They are joined by a Redis; needs `pip install redis`.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, request

from ws import WSServer
from ws.redis import RedisBackplane

application = Flask(__name__)
push = WSServer(port=None, backplane=RedisBackplane("redis://localhost:6379/0"))
push.onmessage(lambda client, message: push.sendall(message))


@application.route("/ws", websocket=True)
def ws() -> Any:
    return push.upgrade(request.environ)


@application.post("/notify")
def notify() -> str:
    push.sendall(request.get_data(as_text=True))  # by any worker, to the clients of all
    return f"{push.presence()} clients\n"

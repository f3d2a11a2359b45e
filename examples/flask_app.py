"""In Flask: WebSockets on the application's own port, and with its sessions."""

from __future__ import annotations

from typing import Any

from flask import Flask, abort, request, session

from ws import Client, WSServer

PAGE = """<!doctype html><title>Talk</title><input autofocus><ul></ul><script>
const socket = new WebSocket(location.href.replace("http", "ws") + "ws");
const list = document.querySelector("ul"), input = document.querySelector("input");
socket.onmessage = event => list.append(event.data, document.createElement("br"));
input.onchange = () => { socket.send(input.value); input.value = ""; };
</script>"""
app = Flask(__name__)
app.secret_key = "change me"
push = WSServer(port=None)


@app.get("/")
def page() -> str:
    session.setdefault("user", f"guest at {request.remote_addr}")
    return PAGE


@app.route("/ws", websocket=True)
def ws() -> Any:
    return push.upgrade(request.environ, data=session) if "user" in session else abort(401)


@push.onmessage
def say(client: Client, message: str) -> None:
    push.sendall(f"{client.data['user']}: {message}")


if __name__ == "__main__":
    app.run(port=8000, debug=True)

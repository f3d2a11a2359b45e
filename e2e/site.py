"""A site in Flask: one logs in on a page, which then talks over a WebSocket, and comes back."""

from __future__ import annotations

from typing import Any

from flask import Flask, abort, redirect, request, session

from ws import Client, WSServer

LOGIN = """<!doctype html><title>Log in</title>
<form method="post"><input name="user" aria-label="Name" autofocus></form>"""
TALK = """<!doctype html><title>Talk</title>
<p role="status">connecting</p><form><input aria-label="Say" autofocus></form><ul></ul>
<script>
const status = document.querySelector("p"), list = document.querySelector("ul");
let socket, times = 0;
function connect() {
  socket = new WebSocket(location.href.replace("http", "ws") + "ws");
  socket.onopen = () => status.textContent = `connected ${++times}`;
  socket.onclose = event => {
    status.textContent = `closed with ${event.code}`;
    setTimeout(connect, 200);
  };
  socket.onmessage = event => list.append(
    Object.assign(document.createElement("li"), {textContent: event.data}));
}
document.querySelector("form").onsubmit = event => {
  event.preventDefault();
  socket.send(document.querySelector("input").value);
};
connect();
</script>"""

app = application = Flask(__name__)
app.secret_key = "the same after a restart"
push = WSServer(port=None)


@app.get("/")
def page() -> str:
    return TALK if "user" in session else LOGIN


@app.post("/")
def log_in() -> Any:
    session["user"] = request.form["user"]
    return redirect("/")


@app.route("/ws", websocket=True)
def ws() -> Any:
    return push.upgrade(request.environ, data=session) if "user" in session else abort(401)


@push.onmessage
def say(client: Client, message: str) -> None:
    push.sendall(f"{client.data['user']}: {message}")

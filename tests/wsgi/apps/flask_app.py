"""The application in Flask."""

from __future__ import annotations

from flask import Flask, abort, jsonify, request, session

from tests.wsgi.apps.shared import COOKIE, push, state

app = application = Flask(__name__)
app.secret_key = "test"


@app.route("/open", websocket=True)
def open_to_all():
    return push.upgrade(request.environ)


@app.route("/ws", websocket=True)
def ws():
    if "user" not in session:
        abort(401)
    return push.upgrade(request.environ, data={"user": session["user"]}, headers=COOKIE)


@app.route("/forgotten")
def forgotten():
    return push.upgrade(request.environ)


@app.post("/login")
def login():
    session["user"] = request.get_data(as_text=True)
    return ""


@app.post("/notify")
def notify():
    return jsonify(push.sendall(request.get_data(as_text=True)))


@app.get("/state")
def get_state():
    return state()

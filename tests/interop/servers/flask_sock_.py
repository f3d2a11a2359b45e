"""flask-sock, that is simple-websocket, on werkzeug."""

import json
import sys

from flask import Flask
from flask_sock import Sock
from simple_websocket import ConnectionClosed

app = Flask(__name__)
app.config["SOCK_SERVER_OPTIONS"] = {"subprotocols": ["interop"]}
sock = Sock(app)


def say(**what):
    print(json.dumps(what), flush=True)


@sock.route("/")
def talk(socket):
    say(open=socket.subprotocol)
    try:
        while True:
            message = socket.receive()
            if message == "/close":
                socket.close(4001, "over")
            else:
                socket.send(message)
    except ConnectionClosed as closed:
        say(closed=int(closed.reason), reason=closed.message or "")


port, *pair = sys.argv[1:]
app.run("127.0.0.1", int(port), ssl_context=tuple(pair) or None)

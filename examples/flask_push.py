"""Next to Flask: a view sends the text of its request to all clients."""

from __future__ import annotations

from flask import Flask, request

from ws import WSServer

app = Flask(__name__)
push = WSServer(port=8001, origins=["http://localhost:8000"])
push.start()


@app.post("/notify")
def notify() -> dict[str, int]:
    return {"delivered": push.sendall(request.get_data(as_text=True))}


if __name__ == "__main__":
    app.run(port=8000, threaded=True)

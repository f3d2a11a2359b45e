"""Names and passwords. They are sent in the clear, so use them only over TLS."""

from __future__ import annotations

from ws import Client, Request, Response, WSServer, basic_auth

server = WSServer(port=8000, cert="fullchain.pem", key="privkey.pem")
ask = basic_auth({"alice": "a-long-password", "bob": "another-long-password"})


@server.onrequest
def authenticate(request: Request) -> Response | None:
    if request.path == "/health":
        return Response(204)
    return ask(request)


@server.onmessage
def say(client: Client, message: str) -> None:
    server.sendall(f"{client.request.user}: {message}")


server.run()

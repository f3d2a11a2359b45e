"""Tokens: programs send one in a header, pages in a cookie. Without one, the answer is 401."""

from __future__ import annotations

import hmac

from ws import Client, Request, Response, WSServer

TOKENS = {"alice": "a-long-random-token", "bob": "another-long-random-token"}

server = WSServer(port=8000)


def user_of(request: Request) -> str | None:
    token = request.headers.get("authorization", "")[len("Bearer ") :]
    token = token or request.cookies.get("token", "")
    for user, secret in TOKENS.items():
        # Takes the same time however much of a guess is right.
        if hmac.compare_digest(token.encode(), secret.encode()):
            return user
    return None


@server.onrequest
def authenticate(request: Request) -> Response | None:
    request.data["user"] = user_of(request)
    if request.data["user"] is None:
        return Response(401, "who are you?\n", {"WWW-Authenticate": "Bearer"})
    return None


@server.onmessage
def say(client: Client, message: str) -> None:
    server.sendall(f"{client.data['user']}: {message}")


server.run()

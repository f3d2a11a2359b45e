"""The application in plain WSGI. Its session is a cookie that anybody could make up."""

from __future__ import annotations

import json
from http.cookies import SimpleCookie

from tests.wsgi.apps.shared import COOKIE, push, state


def application(environ, start_response):
    cookies = SimpleCookie(environ.get("HTTP_COOKIE", ""))
    user = cookies["user"].value if "user" in cookies else None
    path = environ["PATH_INFO"]
    if path == "/open":
        return push.upgrade(environ)(environ, start_response)
    if path == "/ws" and user:
        answer = push.upgrade(environ, data={"user": user}, headers=COOKIE)
        return answer(environ, start_response)
    status, body, headers = "200 OK", "", []
    if path == "/ws":
        status = "401 Unauthorized"
    elif path == "/state":
        body = json.dumps(state())
    else:
        text = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
        if path == "/login":
            headers = [("Set-Cookie", f"user={text}")]
        elif path == "/notify":
            body = json.dumps(push.sendall(text))
        else:
            status = "404 Not Found"
    size = str(len(body.encode()))
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", size), *headers])
    return [body.encode()]

"""Names and passwords by HTTP Basic authentication (RFC 7617)."""

from __future__ import annotations

import base64
import hmac
from typing import Callable, Mapping

from .wire.http11 import Request, Response


def basic_auth(
    users: Mapping[str, str] | Callable[[str, str], bool], realm: str = "WebSocket"
) -> Callable[[Request], Response | None]:
    """Return a callback for `onrequest` that asks for a name and a password (RFC 7617).

    If name and password are right, the callback sets `request.user` to the name, and returns
    None. Otherwise it returns a 401. A callback of your own may call it, for the requests that
    need a password. Any thread may call it.

    Use it only over TLS: passwords are sent in the clear. With a mapping, the time to check a
    guess depends only on the guess's length, and doesn't tell whether the name exists. A function
    of your own should use `hmac.compare_digest`.

    Args:
        users: Passwords by name, copied at once; or a function ``check(name, password)`` that
            returns whether they are right. The function may block.
        realm: What the password is for. Some browsers show it.

    Returns:
        The callback.
    """
    if callable(users):
        check = users
    else:
        secrets = {name: password.encode() for name, password in users.items()}

        def check(name: str, password: str) -> bool:
            # defence: password-time
            same = hmac.compare_digest(secrets.get(name, b""), password.encode())
            return same and name in secrets

    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    challenge = {"WWW-Authenticate": f'Basic realm="{quoted}", charset="UTF-8"'}
    refusal = Response(401, "a name and a password, please\n", challenge)

    def authenticate(request: Request) -> Response | None:
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        try:
            pair = base64.b64decode(credentials.strip(" "), validate=True).decode()
        except ValueError:  # not base64, or not UTF-8
            return refusal
        name, colon, password = pair.partition(":")
        if scheme.lower() != "basic" or not colon or not check(name, password):
            return refusal
        request.user = name
        return None

    return authenticate

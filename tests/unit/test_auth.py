"""Names and passwords by HTTP Basic authentication (RFC 7617)."""

from __future__ import annotations

import base64

import pytest

from tests.support.heads import head, parse
from tests.support.tables import table
from ws import basic_auth


def basic(pair: str, encoding="utf-8") -> str:
    return "Basic " + base64.b64encode(pair.encode(encoding)).decode()


@table(
    "authorization, user",
    ("7617-2 the example", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin"),
    ("7617-2 the scheme has no case", "bASIC QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin"),
    ("9110-11.4 more spaces", "Basic   QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin"),
    ("7617-2.1 UTF-8", "Basic dGVzdDoxMjPCow==", "test"),
    ("7617-2 the first colon ends the name", basic("colon:a:b"), "colon"),
    ("an empty name", basic(":nameless"), ""),
    ("an empty password, where there is one", basic("empty:"), "empty"),
    ("nothing", None, None),
    ("less than nothing", "", None),
    ("no credentials", "Basic", None),
    ("another password", basic("test:123"), None),
    ("with another case", basic("Aladdin:Open sesame"), None),
    ("with more", basic("Aladdin:open sesame!"), None),
    ("none", basic("Aladdin:"), None),
    ("somebody else's", basic("test:open sesame"), None),
    ("an unknown name", basic("ali:open sesame"), None),
    ("with no password", basic("ali:"), None),
    ("names have a case", basic("aladdin:open sesame"), None),
    ("another scheme", "Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==", None),
    ("no colon", basic("Aladdin"), None),
    ("not even where the password is empty", basic("empty"), None),
    ("not base64", "Basic Aladdin:open sesame", None),
    ("base64 with more", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==, Basic x", None),
    ("without its padding", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ", None),
    ("not ASCII", "Basic \xe9", None),
    ("not UTF-8", basic("test:123£", "latin-1"), None),
)
@pytest.mark.parametrize("by_function", [False, True])
def test_basic_auth(authorization, user, by_function):
    users = {"Aladdin": "open sesame", "test": "123£", "colon": "a:b", "": "nameless", "empty": ""}

    def check(name, password):
        return users.get(name) == password

    request = parse(head(Authorization=authorization))
    response = basic_auth(check if by_function else users)(request)
    assert request.user == user
    assert response is None if user is not None else response.status == 401


@pytest.mark.parametrize("name", ["ann", "nobody"])
@pytest.mark.parametrize("password", ["secrét", "secreT", "", "x" * 99])
def test_any_guess_takes_as_long(monkeypatch, name, password):
    """Each costs one comparison in constant time, whether or not there is such a user."""
    compared = []

    def compare_digest(secret, guess):
        compared.append(guess)
        return secret == guess

    monkeypatch.setattr("hmac.compare_digest", compare_digest)
    ask = basic_auth({"ann": "secrét"})
    response = ask(parse(head(Authorization=basic(f"{name}:{password}"))))
    assert (response is None) is ((name, password) == ("ann", "secrét"))
    assert compared == [password.encode()]


def test_401_says_what_is_wanted():
    response = basic_auth({}, realm='the "back\\office"')(parse(head()))
    challenge = r'Basic realm="the \"back\\office\"", charset="UTF-8"'
    assert response.headers["WWW-Authenticate"] == challenge


@pytest.mark.parametrize("realm", ["a\r\nY: b", "a\rb", "a\nb", "a\0b"])
def test_realm_that_would_break_out_of_its_line(realm):
    with pytest.raises(ValueError, match="not a header field"):
        basic_auth({}, realm=realm)

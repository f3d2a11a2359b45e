"""What the port serves: the page, and the WebSocket to pages of the origins that are let in."""

from __future__ import annotations

import contextlib
import http.client
import re

import pytest

from chat import server
from tests.chat.processes import chatting
from tests.support.heads import request
from tests.support.rawclient import RawClient
from tests.support.waiting import DEADLINE


def fetch(port, path="/", method="GET"):
    """Return the response to a plain HTTP request, and its body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request(method, path)
        response = connection.getresponse()
        return response, response.read()


NAME = "chat.example.org"
HERE = "localhost"


@pytest.mark.parametrize(
    ("options", "host", "origin", "status"),
    [
        ((), HERE, "null", 101),
        ((), "127.0.0.1", "null", 101),
        ((), "[::1]", "null", 101),
        ((), NAME, "null", 403),
        ((), "127.0.0.1.example.org", "null", 403),
        ((), "192.0.2.1", "null", 403),
        (("--file",), NAME, "null", 101),
        (("--origin", "null"), NAME, "null", 101),
        ((), HERE, f"http://{HERE}", 101),
        ((), NAME, f"http://{NAME}", 101),
        ((), HERE, "https://elsewhere.example", 403),
        (("--file",), HERE, "https://elsewhere.example", 403),
        (("--origin", "https://elsewhere.example"), HERE, "https://elsewhere.example", 101),
        (("--origin", "https://elsewhere.example"), HERE, "null", 403),
        (("--origin", "https://elsewhere.example", "--file"), NAME, "null", 101),
        (("--origin", "self"), HERE, "null", 403),
        (("--origin", "self"), HERE, f"http://{HERE}", 101),
        (("--origin", "*"), HERE, "https://elsewhere.example", 101),
        (("--origin", "*"), NAME, "null", 101),
        (("--host-name", NAME), NAME, f"http://{NAME}", 101),
        (("--host-name", NAME), "evil.example", "http://evil.example", 421),
        (("--host-name", NAME), HERE, "null", 421),
        (("--host", "127.0.0.1"), HERE, "null", 101),
        (("--host", "127.0.0.1"), "evil.example", "http://evil.example", 421),
        (("--host", "127.0.0.1", "--proxy", "127.0.0.1"), NAME, f"http://{NAME}", 101),
    ],
)
def test_which_pages_may_connect(options, host, origin, status):
    with chatting(*options, 0) as process:
        host = f"{host}:{process.port}"
        origin = f"{origin}:{process.port}" if origin.startswith("http:") else origin
        head = request("/", "Origin: " + origin, host=host)
        with RawClient(process.port, head) as client:
            assert client.status == status


def test_pages_from_a_file_may_connect_on_this_machine_only():
    """Also if the reverse proxy is on it."""
    fields = ("Origin: null", "X-Forwarded-For: 192.0.2.1")
    with chatting("--proxy", "127.0.0.1", 0) as process:
        with RawClient(process.port, request("/", *fields)) as client:
            assert client.status == 403
        with RawClient(process.port, request("/", *fields[:1])) as client:
            assert client.status == 101


@pytest.mark.parametrize(
    ("path", "file", "content_type"),
    [
        ("/", "index.html", "text/html; charset=utf-8"),
        ("/index.html", "index.html", "text/html; charset=utf-8"),
        ("/?query", "index.html", "text/html; charset=utf-8"),
        ("/chat.css", "chat.css", "text/css; charset=utf-8"),
        *(
            (f"/{name}.js", f"{name}.js", "text/javascript; charset=utf-8")
            for name in server.SCRIPTS
        ),
    ],
)
def test_the_page_is_served_on_the_same_port(running, path, file, content_type):
    response, body = fetch(running.port, path)
    assert response.status == 200
    assert body == (server.PAGE / file).read_bytes()
    assert response.getheader("Content-Type") == content_type
    assert response.getheader("X-Content-Type-Options") == "nosniff"
    policy = response.getheader("Content-Security-Policy").split("; ")
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= set(policy)
    assert "unsafe" not in " ".join(policy)
    head, nothing = fetch(running.port, path, "HEAD")
    assert (head.status, nothing) == (200, b"")
    assert sorted(head.getheaders()) == sorted(response.getheaders())


@pytest.mark.parametrize("path", ["/favicon.ico", "/server.py", "/../ws/server.py", "//index.html"])
def test_nothing_else_is_served(running, path):
    assert fetch(running.port, path)[0].status == 404


def test_pages_are_only_read(running):
    response, _ = fetch(running.port, "/", "POST")
    assert response.status == 405
    assert response.getheader("Allow") == "GET, HEAD"


def test_the_page_loads_nothing_from_elsewhere_and_never_makes_html_of_text():
    page = (server.PAGE / "index.html").read_text("utf-8")
    links = set(re.findall(r"""(?:src|href)="(?!data:)([^"]*)\"""", page))
    assert links | {"index.html"} == set(server.CONTENT_TYPES)
    for name in links:
        script = (server.PAGE / name).read_text("utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval", script)
        assert not re.search(r"""https?://\w|url\(""", script)

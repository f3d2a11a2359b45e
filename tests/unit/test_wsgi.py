"""The hand-over by a WSGI worker: requests made of environs, answers, and who can't hand over."""

from __future__ import annotations

import os
import socket

import pytest

from tests.support.tables import table
from tests.support.wsgi import called, environ
from ws import Response
from ws.wire.http11 import HandshakeError
from ws.wsgi import Answer, find_worker, read_request, take


@table(
    "changes, target, path, query",
    ("usual", {}, "/ws", "/ws", {}),
    ("a query", {"QUERY_STRING": "a=1&b=%C3%A4"}, "/ws?a=1&b=%C3%A4", "/ws", {"a": "1", "b": "ä"}),
    ("mounted", {"SCRIPT_NAME": "/app"}, "/app/ws", "/app/ws", {}),
    ("nothing", {"PATH_INFO": ""}, "/", "/", {}),
    ("UTF-8", {"PATH_INFO": "/\xc3\xa4 b"}, "/%C3%A4%20b", "/ä b", {}),
    ("a question mark", {"PATH_INFO": "/a?b#c"}, "/a%3Fb%23c", "/a?b#c", {}),
    ("bad query", {"QUERY_STRING": "a=\r\n \xff"}, "/ws?a=%0D%0A%20%FF", "/ws", {"a": "\r\n �"}),
)
def test_the_target_is_made_of_the_parts(changes, target, path, query):
    request = read_request(environ(**changes))
    assert (request.target, request.path, request.query) == (target, path, query)


def test_the_headers_are_those_of_the_environ():
    cookie, sort, odd = "a=1; b=\xe4", "text/plain", "a_b"
    changes = {
        "HTTP_COOKIE": cookie,
        "CONTENT_TYPE": sort,
        "CONTENT_LENGTH": "",
        "HTTP_X_HTTP_": odd,
    }
    request = read_request(environ(**changes))
    assert (request.method, request.version, request.is_upgrade) == ("GET", "HTTP/1.1", True)
    assert request.cookies == {"a": "1", "b": "\xe4"}
    assert request.headers["Content-Type"] == sort
    assert request.headers["X-HTTP-"] == odd
    assert "content-length" not in request.headers


@table(
    "changes, status",
    ("no host", {"HTTP_HOST": None}, 400),
    ("a second line", {"HTTP_X": "a\r\nOrigin: http://example.org"}, 400),
    ("a folded line", {"HTTP_X": "a\r\n b"}, 400),
    ("a control character", {"HTTP_X": "a\nb"}, 400),
    ("a method", {"REQUEST_METHOD": "GET /"}, 400),
    ("a long target", {"PATH_INFO": "/" + "x" * 9000}, 414),
    ("many fields", {f"HTTP_X{number}": "1" for number in range(100)}, 431),
    ("a protocol", {"SERVER_PROTOCOL": "HTTP/9.9"}, 505),
    ("HTTP/2", {"SERVER_PROTOCOL": "HTTP/2.0"}, 501),
    ("HTTP/3", {"SERVER_PROTOCOL": "HTTP/3"}, 501),
)
def test_a_request_is_checked_as_on_a_port(changes, status):
    with pytest.raises(HandshakeError) as caught:
        read_request(environ(**changes))
    assert caught.value.response.status == status


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_scheme_says_whether_the_client_uses_tls(scheme):
    assert read_request(environ(wsgi__url_scheme=scheme)).secure is (scheme == "https")


TEXT = "text/plain; charset=utf-8"


@table(
    "response, method, expected",
    (
        "taken",
        Response(101, headers={"X": "1"}),
        "GET",
        ("101 Switching Protocols", {"X": "1"}, b""),
    ),
    (
        "refused",
        Response(426, "no", {"Upgrade": "websocket", "A": "b"}),
        "GET",
        ("426 Upgrade Required", {"Content-Type": TEXT, "A": "b", "Content-Length": "2"}, b"no"),
    ),
    ("empty", Response(204), "GET", ("204 No Content", {}, b"")),
    (
        "HEAD",
        Response(200, "x"),
        "HEAD",
        ("200 OK", {"Content-Type": TEXT, "Content-Length": "1"}, b""),
    ),
    ("unknown", Response(299), "GET", ("299 ", {"Content-Type": TEXT, "Content-Length": "0"}, b"")),
)
def test_an_answer_is_a_wsgi_application(response, method, expected):
    assert called(Answer(response), method) == expected


# Who can't hand over


class Body:
    """A wsgi.input above another stream, as cheroot and Django have them."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)


@table(
    "changes, reason",
    ("nothing", {}, "Test/1.0 doesn't give its connections away"),
    ("no name", {"SERVER_SOFTWARE": None}, "this WSGI server doesn't give"),
    ("another gunicorn", {"gunicorn.socket": object()}, "Test/1.0 doesn't give"),
    ("processes", {"werkzeug.socket": 1, "wsgi__multiprocess": True}, "its process ends"),
    ("a foreign stream", {"wsgi__input": Body(rfile=Body(raw=None))}, "doesn't give"),
)
def test_an_environ_without_a_socket_is_refused(changes, reason, caplog):
    for _ in range(2):
        with pytest.raises(HandshakeError) as caught:
            find_worker(environ(**changes))
        assert caught.value.response.status == 501
        assert reason in caught.value.response.body.decode()
    assert len(caplog.records) <= 1


def test_a_socket_is_found_below_other_streams():
    one, two = socket.socketpair()
    with one, two, one.makefile("rb") as stream:
        limited = Body(_read=stream.read)  # Django's
        for wrapped in (stream, limited, Body(rfile=stream), Body(rfile=limited)):
            assert find_worker(environ(wsgi__input=wrapped)).sock is one


def test_what_is_taken_has_left_for_its_owner():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(5)
        with theirs.makefile("rb") as stream:
            ours.sendall(b"head\nrest")
            assert stream.readline() == b"head\n"
            descriptor = theirs.fileno()
            taken, peer = take(theirs)
            assert stream.read() == b"rest"
            assert theirs.recv(1) == b""
            theirs.sendall(b"to nobody")
            assert peer.recv(20) == b"to nobody"
        assert theirs.fileno() == descriptor
        assert not taken.get_inheritable()
        ours.sendall(b"later")
        assert taken.recv(5) == b"later"
        taken.sendall(b"answer")
        assert ours.recv(6) == b"answer"
        taken.dispose()
        assert ours.recv(1) == b""
    with peer:
        assert peer.recv(1) == b""


@pytest.mark.skipif(os.name != "posix", reason="shows on POSIX what other systems do")
def test_what_is_taken_has_left_where_sockets_are_no_descriptors(monkeypatch):
    monkeypatch.setattr("ws.wsgi.sys.platform", "win32")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(5)
        with theirs.makefile("rb") as stream:
            ours.sendall(b"head\nrest")
            assert stream.readline() == b"head\n"
            taken, peer = take(theirs)
            assert stream.read() == b"rest"
            assert theirs.gettimeout() == 5
            theirs.close()
            assert theirs.fileno() >= 0, "the stream above still counts"
        assert theirs.fileno() == -1
        ours.sendall(b"later")
        assert taken.recv(5) == b"later"
        taken.dispose()
        peer.close()

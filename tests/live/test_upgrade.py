"""Connections that are taken over from a WSGI worker: `WSServer.upgrade`, without such a worker."""

from __future__ import annotations

import errno
import os
import socket
import threading

import pytest

from tests.support.frames import TEXT, frame
from tests.support.tables import table
from tests.support.waiting import DEADLINE, eventually
from tests.support.wsgi import called, environ
from ws import Response, WSServer


@table(
    "options",
    *(
        (name, {name: value})
        for name, value in (
            ("cert", "cert.pem"),
            ("unix", "/run/x"),
            ("proxy_protocol", True),
            ("reuse_port", True),
        )
    ),
)
def test_a_server_without_a_port_takes_no_options_of_one(options):
    options = {
        **options,
        **({"trusted_proxies": ["127.0.0.1"]} if "proxy_protocol" in options else {}),
    }
    with pytest.raises(ValueError, match="port=None"):
        WSServer(port=None, **options)


def test_a_server_without_a_port_starts_only_for_a_hand_over():
    server = WSServer(port=None)
    assert (server.port, server.url, server.stats()["threads"]) == (0, "", 0)
    assert called(server.upgrade(environ()))[0] == "501 Not Implemented"
    assert server.sendall("nobody hears it") == 0
    assert server.stats()["threads"] == 0
    assert server.shutdown()
    assert called(server.upgrade(environ()))[0] == "503 Service Unavailable"


def handed_over(server, data=None, headers=None, **changes):
    """Hand a connection over as wsgiref does; return the client's end, and the answer."""
    ours, theirs = socket.socketpair()
    ours.settimeout(DEADLINE)
    with theirs, theirs.makefile("rb") as stream:
        changed = environ(wsgi__input=stream, **changes)
        return ours, server.upgrade(changed, data=data, headers=headers)


def test_a_server_with_a_port_takes_connections_over_while_it_runs():
    server = WSServer("127.0.0.1", 0)
    with pytest.raises(RuntimeError, match="start"):
        handed_over(server)
    with server:
        ours, answer = handed_over(server, data={"a": 1}, headers={"X": "1"})
        with ours:
            assert answer.status == 101
            assert b"X: 1\r\n" in ours.recv(1000)
            (client,) = server.clients
            assert client.data == {"a": 1}
            assert client.getpeername() == ("192.0.2.1", 5000)


def test_a_header_that_is_wrong_raises_before_anything_happens():
    server = WSServer(port=None)
    with pytest.raises(ValueError, match="server to set"):
        handed_over(server, headers={"Upgrade": "h2c"})
    assert server.stats()["threads"] == 0


def test_what_onrequest_raises_is_for_the_application():
    server = WSServer(port=None)

    @server.onrequest
    def fail(request):
        raise LookupError(request.path)

    with pytest.raises(LookupError):
        handed_over(server)


def test_onrequest_adds_to_the_answer():
    server = WSServer(port=None)
    server.onrequest(lambda request: Response(101, headers={"A": "1", "B": "1"}))
    ours, answer = handed_over(server, headers={"B": "2"})
    with ours:
        head = ours.recv(1000)
        assert answer.status == 101 and b"A: 1\r\n" in head and b"B: 2\r\n" in head
    server.shutdown()


def test_the_limits_count_who_was_taken_over():
    server = WSServer(port=None, max_clients_per_address=1)
    ours, answer = handed_over(server)
    with ours:
        assert answer.status == 101
        other, answer = handed_over(server)
        other.close()
        assert answer.status == 429
        assert server.stats()["connections"] == 1
    server.shutdown()


@pytest.mark.parametrize("exhausted", [False, True])
def test_descriptors_are_left_to_the_application(monkeypatch, exhausted):
    def lowest_free():
        if exhausted:
            raise OSError(errno.EMFILE, "Too many open files")
        return 1 << 30

    with WSServer(port=None) as server:
        first, answer = handed_over(server)
        with first:
            assert answer.status == 101
            monkeypatch.setattr("ws.service.lowest_free", lowest_free)
            second, answer = handed_over(server)
            with second:
                assert answer.status == 503


def test_line_ends_in_an_environ():
    """A WSGI server that lets a line end in a field through doesn't let further fields in."""
    server = WSServer(port=None, trusted_proxies=["192.0.2.1"])
    ours, answer = handed_over(server, HTTP_X="a\r\nX-Forwarded-For: 203.0.113.7")
    ours.close()
    assert answer.status == 400
    assert server.stats()["threads"] == 0


def test_everything_is_parsed_in_order():
    """The client sends on while its connection is handed over."""
    server, got = WSServer(port=None), []
    server.onmessage(lambda client, message: got.append(message))
    data = b"".join(frame(TEXT, str(number).encode()) for number in range(100))
    for size in range(1, 120, 3):
        ours, theirs = socket.socketpair()
        with ours, theirs, theirs.makefile("rb") as stream:
            ours.sendall(b"head\n" + data[:size])
            assert stream.readline() == b"head\n"
            sender = threading.Thread(target=ours.sendall, args=(data[size:],))
            sender.start()
            server.upgrade(environ(wsgi__input=stream))
            sender.join()
            eventually(lambda: len(got) >= 100)
            assert got == [str(number) for number in range(100)]
            got.clear()
    server.shutdown()


def test_two_threads_first_hand_overs_start_one_server():
    server = WSServer(port=None)
    barrier, answers = threading.Barrier(8), []

    def hand_over():
        barrier.wait()
        answers.append(handed_over(server))

    threads = [threading.Thread(target=hand_over) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status for _, answer in answers] == [101] * 8
    assert len(server.clients) == 8
    for ours, _ in answers:
        ours.close()
    assert server.shutdown()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes that are forked")
def test_a_process_that_was_forked_after_the_start_says_so():
    with WSServer(port=None) as server:
        child = os.fork()
        if not child:
            try:
                handed_over(server)
            except RuntimeError as error:
                os._exit(0 if "forked" in str(error) else 1)
            os._exit(2)
        assert os.waitpid(child, 0)[1] == 0


def test_shutdown_says_goodbye_to_who_was_taken_over():
    server = WSServer(port=None)
    ours, _ = handed_over(server)
    with ours:
        ours.recv(1000)
        server.shutdown(0.3)
        assert ours.recv(100)[2:] == b"\x03\xe9server is shutting down"

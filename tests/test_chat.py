"""The chat, as a person starts it: `python -m chat`, or chat/chat.py from anywhere."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme
from wsclient import CONT, DEADLINE, TEXT, WSClient, connect, frame, request

import chat.server
from ws import WSServer

ROOT = Path(__file__).resolve().parents[1]
MODULE = ("-m", "chat")
SCRIPT = (str(ROOT / "chat" / "chat.py"),)
LONGEST = 16 << 10


def start(*arguments, how=MODULE, cwd=ROOT):
    """Start the chat as a process."""
    default = None
    if os.name == "posix":  # whoever runs the tests may ignore Ctrl-C

        def default():
            signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(
        [sys.executable, *how, *map(str, arguments)],
        cwd=str(cwd),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        preexec_fn=default,  # noqa: PLW1509 - it runs before any thread of the child
    )


@contextlib.contextmanager
def chatting(*arguments, **options):
    """Run the chat, with its `port` as the printed URL tells it."""
    process = start(*arguments, **options)
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        process.line = process.stdout.readline()
        url = re.search(r"(https?)://[\w.]+:(\d+)/", process.line)
        assert url, process.line or process.stderr.read()
        process.scheme, process.port = url.group(1), int(url.group(2))
        yield process
    finally:
        process.kill()
        process.communicate()
        watchdog.cancel()


@pytest.fixture
def running():
    with chatting(0) as process:
        yield process


def refused(*arguments):
    """Return the one sentence with which the chat refuses to start."""
    process = start(*arguments)
    try:
        out, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    assert (process.returncode, out) == (2, "")
    assert re.match(r"chat: .+\n\Z", err), err
    return err


def fetch(port, path="/", method="GET"):
    """Return the response to a plain HTTP request, and its body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request(method, path)
        response = connection.getresponse()
        return response, response.read()


# Messages


def test_what_one_says_everyone_gets(running):
    with connect(running.port) as alice, connect(running.port) as bob:
        alice.send("hello, <b>world</b> 👋")
        assert alice.recv() == bob.recv() == "hello, <b>world</b> 👋"
        bob.send("  as it stands\n")
        assert alice.recv() == bob.recv() == "  as it stands\n"


def test_a_newcomer_gets_the_last_fifty_in_order(running):
    with connect(running.port) as alice:
        said = [f"message {number}" for number in range(70)]
        for text in said:
            alice.send(text)
        assert [alice.recv() for _ in said] == said
        with connect(running.port) as bob:
            assert [bob.recv() for _ in range(50)] == said[20:]
            alice.send("and on")
            assert bob.recv() == "and on"


def test_a_history_of_the_longest_messages_reaches_a_newcomer(running):
    with connect(running.port) as alice:
        said = [f"{number:02}" + "x" * (LONGEST - 2) for number in range(50)]
        for text in said:
            alice.send(text)
            assert alice.recv() == text
        with connect(running.port) as bob:
            assert [bob.recv() for _ in said] == said


def test_everyone_sees_the_same_order_whenever_they_came(running):
    """Six talk at once while newcomers arrive: nothing is missed, doubled or out of order."""
    talkers = [connect(running.port) for _ in range(6)]
    said = {f"{talker} {count}" for talker in range(6) for count in range(100)}

    def talk(number):
        for count in range(100):
            talkers[number].send(f"{number} {count}")

    def listen_to_all(number):
        return [talkers[number].recv() for _ in said]

    def listen_to_the_end(client):
        with client:
            return list(iter(client.recv, "the end"))

    with ThreadPoolExecutor(64) as pool:
        heard = [pool.submit(listen_to_all, number) for number in range(6)]
        for number in range(6):
            pool.submit(talk, number)
        newcomers = [pool.submit(listen_to_the_end, connect(running.port)) for _ in range(50)]
        order = heard[0].result()
        talkers[0].send("the end")
        assert set(order) == said
        assert all(future.result() == order for future in heard)
        for future in newcomers:
            messages = future.result()
            assert messages == order[-len(messages) :]
            assert len(messages) >= 49  # the end may be the last of its fifty
    for client in talkers:
        client.close()


def test_what_is_said_while_one_enters_comes_once(monkeypatch):
    """A client is listed before `onopen` is called for it: a message may come in between."""
    entering, said = threading.Event(), threading.Event()

    class Slow(WSServer):
        def onopen(self, callback):
            def enter(client):
                if len(self.clients) > 1:
                    entering.set()
                    assert said.wait(DEADLINE)
                callback(client)

            return super().onopen(enter)

    monkeypatch.setattr(chat.server, "WSServer", Slow)
    server = chat.server.make_server("127.0.0.1", 0)
    with server.start(), connect(server.port) as alice, connect(server.port) as bob:
        assert entering.wait(DEADLINE)
        alice.send("meanwhile")
        assert alice.recv() == "meanwhile"
        said.set()
        alice.send("then")
        assert [bob.recv(), bob.recv()] == ["meanwhile", "then"]


@pytest.mark.parametrize("nothing", ["", " ", "\n\t "])
def test_nothing_is_not_a_message(running, nothing):
    with connect(running.port) as alice:
        alice.send(nothing)
        alice.send("something")
        assert alice.recv() == "something"


def test_a_fragmented_message_is_one(running):
    with connect(running.port) as alice:
        alice.send_frames(frame(TEXT, b"in ", fin=False), frame(CONT, b"pieces"))
        assert alice.recv() == "in pieces"


def test_too_long_a_message_is_refused_and_not_kept(running):
    with connect(running.port) as alice, connect(running.port) as bob:
        alice.send("x" * (LONGEST + 1))
        assert alice.recv()[0] == 1009
        bob.send("still here")
        assert bob.recv() == "still here"


def test_binary_is_refused(running):
    with connect(running.port) as alice:
        alice.send(b"\0\1")
        assert alice.recv() == (1003, "text only")


@pytest.mark.parametrize(
    ("origin", "status"),
    [("null", 101), ("http://localhost", 101), ("https://elsewhere.example", 403)],
)
def test_pages_from_files_and_from_here_may_connect(running, origin, status):
    with WSClient(running.port, request("/", "Origin: " + origin)) as client:
        assert client.status == status


# Pages


@pytest.mark.parametrize(
    ("path", "file", "content_type"),
    [
        ("/", "index.html", "text/html; charset=utf-8"),
        ("/index.html", "index.html", "text/html; charset=utf-8"),
        ("/?query", "index.html", "text/html; charset=utf-8"),
        ("/chat.css", "chat.css", "text/css; charset=utf-8"),
        ("/chat.js", "chat.js", "text/javascript; charset=utf-8"),
    ],
)
def test_the_page_is_served_on_the_same_port(running, path, file, content_type):
    response, body = fetch(running.port, path)
    assert response.status == 200
    assert body == (ROOT / "chat" / file).read_bytes()
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
    page, script = ((ROOT / "chat" / name).read_text("utf-8") for name in ("index.html", "chat.js"))
    links = re.findall(r"""(?:src|href)="([^"]*)\"""", page)
    assert {link for link in links if not link.startswith("data:")} == {"chat.css", "chat.js", ""}
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval", script)


# The process


def test_the_script_works_from_any_folder(tmp_path):
    with chatting(0, how=SCRIPT, cwd=tmp_path) as running, connect(running.port) as alice:
        alice.send("hello")
        assert alice.recv() == "hello"


def test_it_says_where_to_look(running):
    assert running.line == f"Chat on http://localhost:{running.port}/ (Ctrl-C ends it)\n"


def test_host_is_where_it_listens():
    with chatting("--host", "127.0.0.1", 0) as running:
        assert running.line.startswith(f"Chat on http://127.0.0.1:{running.port}/ ")


def test_a_certificate_makes_it_https_and_wss(tmp_path):
    authority = trustme.CA()
    cert, context = str(tmp_path / "cert.pem"), ssl.create_default_context()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(cert)
    authority.configure_trust(context)
    with chatting("--cert", cert, 0) as running:
        assert running.scheme == "https"
        with connect(running.port, context=context) as alice:
            alice.send("hello")
            assert alice.recv() == "hello"


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_it(running, name):
    with connect(running.port) as alice:
        alice.send("hello")
        assert alice.recv() == "hello"
        running.send_signal(getattr(signal, name))
        assert alice.recv()[0] == 1001
    out, err = running.communicate(timeout=DEADLINE)
    assert (running.returncode, out, err) == (0, "", "")


def test_a_port_that_is_taken():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(1)
        port = sock.getsockname()[1]
        error = refused(port, "--host", "127.0.0.1")
    assert f"127.0.0.1 port {port}" in error


def test_a_host_that_is_not_this_machine():
    assert "192.0.2.1" in refused(0, "--host", "192.0.2.1")


def test_a_certificate_or_key_that_is_not_there(tmp_path):
    path = str(tmp_path / "missing.pem")
    assert path in refused(0, "--cert", path)
    assert path in refused(0, "--cert", __file__, "--key", path)


def test_a_certificate_that_is_none():
    assert f"{__file__}: not a certificate" in refused(0, "--cert", __file__)


@pytest.mark.parametrize(
    "arguments", [("http",), ("-1",), ("65536",), ("0", "--key", "key.pem"), ("0", "1")]
)
def test_arguments_that_make_no_sense(arguments):
    process = start(*arguments)
    out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out) == (2, "")
    assert "usage: " in err
    assert "Traceback" not in err

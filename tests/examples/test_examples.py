"""Each program in examples/ is started as a program of its own, and a client talks to it."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import os
import signal
import socket
import ssl
import sys
from pathlib import Path

import pytest
import trustme

from tests.support import ROOT
from tests.support.client import Client
from tests.support.processes import free_port, listens, popen
from tests.support.waiting import DEADLINE, eventually
from ws import ConnectionClosed, HandshakeRefused

EXAMPLES = ROOT / "examples"
ELSEWHERE = {
    "backplane": "tests/cluster/test_examples.py",
    "flask_workers": "tests/wsgi/test_examples.py",
}
"""Tests that need a Redis are elsewhere."""

posix = pytest.mark.skipif(os.name != "posix", reason="signals and descriptors as POSIX has them")


@contextlib.contextmanager
def running(command, port, folder, **options):
    """Run a program until its port is open."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])}
    env.update(options.pop("env", {}))
    process = popen(command, cwd=str(folder), env=env, universal_newlines=True, **options)
    try:
        eventually(lambda: process.poll() is not None or listens(port))
        assert process.poll() is None, process.communicate()[1]
        yield process
    finally:
        process.kill()
        process.communicate()


def copy(name, folder, ports):
    """Copy an example as a user would, with other ports or texts; return its path."""
    program = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    for old, port in ports.items():
        assert str(old) in program
        program = program.replace(str(old), str(port))
    path = Path(folder, f"{name}.py")
    path.write_text(program, encoding="utf-8")
    return path


@contextlib.contextmanager
def example(name, folder, **options):
    """Run an example with another port than 8000; the process has it as `port`."""
    port = free_port()
    path = copy(name, folder, {8000: port})
    with running([sys.executable, str(path)], port, folder, **options) as process:
        process.port = port
        yield process


def fetch(port, path="/", context=None):
    """Return the status and the body of a plain HTTP request, over TLS with a context."""
    secure = functools.partial(http.client.HTTPSConnection, context=context)
    kind = secure if context else http.client.HTTPConnection
    with contextlib.closing(kind("localhost", port, timeout=DEADLINE)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def refusal(port, path="/", **options):
    """Return the response with which a server refuses a client."""
    with pytest.raises(HandshakeRefused) as refused:
        Client(port, path, **options)
    return refused.value.response


def certify(folder):
    """Write a certificate and its key as the examples name them; return a client's context."""
    authority, context = trustme.CA(), ssl.create_default_context()
    issued = authority.issue_cert("localhost")
    Path(folder, "fullchain.pem").write_bytes(issued.cert_chain_pems[0].bytes())
    Path(folder, "privkey.pem").write_bytes(issued.private_key_pem.bytes())
    authority.configure_trust(context)
    return context


def test_each_example_is_short_and_has_a_test():
    for path in EXAMPLES.glob("*.py"):
        if path.stem != "__init__":
            most = 30 if path.stem == "chat" else 40
            assert 10 <= len(path.read_text(encoding="utf-8").splitlines()) <= most, path.name
            if path.stem in ELSEWHERE:
                assert f"{path.stem}.py" in (ROOT / ELSEWHERE[path.stem]).read_text("utf-8")
            else:
                assert f"test_{path.stem}" in globals()


def test_each_example_is_in_the_table():
    table = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.glob("[!_]*.py"):
        assert f"[{path.name}]({path.name})" in table


def test_chat():
    port = free_port()
    with running([sys.executable, "-m", "examples.chat", str(port)], port, ROOT) as process:
        status, page = fetch(port, "/kitchen")
        assert status == 200 and "new WebSocket" in page
        kitchen, hall = "/kitchen", "/hall"
        with Client(port, kitchen) as ann, Client(port, kitchen) as bob, Client(port, hall) as cy:
            ann.send("Ann: hello, wörld")
            assert ann.recv() == bob.recv() == "Ann: hello, wörld"
            cy.send("Cy: nobody here?")
            assert cy.recv() == "Cy: nobody here?"
        if os.name == "posix":
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0


def test_echo(tmp_path):
    with example("echo", tmp_path) as process, Client(process.port) as client:
        client.send("hello")
        assert client.recv() == "hello"
        client.send(b"\0\1")
        assert client.recv() == b"\0\1"


def test_push(tmp_path):
    with example("push", tmp_path) as process, Client(process.port) as client:
        assert client.recv()
        assert client.recv()


def test_rooms(tmp_path):
    with example("rooms", tmp_path) as process, contextlib.ExitStack() as stack:
        ann, bob, cy = (
            stack.enter_context(Client(process.port, path))
            for path in ("/kitchen", "/kitchen", "/hall")
        )
        cy.send("in the hall")
        ann.send("in the kitchen")
        assert bob.recv() == "in the kitchen"
        bob.send("yes")
        assert ann.recv() == "yes"


@pytest.mark.parametrize(
    ("headers", "user"),
    [
        ({"Authorization": "Bearer a-long-random-token"}, "alice"),
        ({"Cookie": "token=another-long-random-token"}, "bob"),
        ({"Authorization": "Bearer a-long-random-guess"}, None),
        ({}, None),
    ],
)
def test_tokens(tmp_path, headers, user):
    with example("tokens", tmp_path) as process:
        if user is None:
            assert refusal(process.port, headers=headers).status == 401
        else:
            with Client(process.port, headers=headers) as client:
                client.send("hello")
                assert client.recv() == f"{user}: hello"


def test_passwords(tmp_path):
    context = certify(tmp_path)
    with example("passwords", tmp_path) as process:
        known = base64.b64encode(b"alice:a-long-password").decode()
        headers = {"Authorization": f"Basic {known}"}
        with Client(process.port, ssl_context=context, headers=headers) as client:
            client.send("hello")
            assert client.recv() == "alice: hello"
        assert refusal(process.port, ssl_context=context).status == 401
        assert fetch(process.port, "/health", context=context) == (204, "")


@posix
def test_tls(tmp_path):
    old = certify(tmp_path)
    with example("tls", tmp_path) as process, Client(process.port, ssl_context=old) as before:
        new = certify(tmp_path)
        process.send_signal(signal.SIGHUP)

        def renewed():
            with contextlib.suppress(ssl.SSLError), Client(process.port, ssl_context=new) as after:
                after.send("over the new certificate")
                return after.recv() == "over the new certificate"

        eventually(renewed)
        before.send("still here")
        assert before.recv() == "still here"


def test_page(tmp_path):
    with example("page", tmp_path) as process, Client(process.port) as client:
        client.send("hello")
        assert client.recv() == "hello"
        assert "new WebSocket" in fetch(process.port)[1]
        assert fetch(process.port, "/health") == (200, "1 clients\n")
        assert fetch(process.port, "/else") == (404, "not found\n")


def test_logs(tmp_path):
    with example("logs", tmp_path) as process, Client(process.port) as client:
        client.send("4")
        assert client.recv() == "0.25"
        client.send("0")
        with pytest.raises(ConnectionClosed, match="1011"):
            client.recv()
        lines = []
        while not (lines and "raised ZeroDivisionError" in lines[-1]):
            lines.append(process.stderr.readline())
            assert lines[-1], lines
        assert any("Traceback" in line for line in lines)


def test_logs_that_nobody_reads(tmp_path):
    """The pipe is full long before; without a thread of its own for it, the server would stop."""
    with example("logs", tmp_path) as process:
        for _ in range(1000):
            assert fetch(process.port)[0] == 426
        with Client(process.port) as client:
            client.send("4")
            assert client.recv() == "0.25"


def test_proxy(tmp_path):
    told = {"X-Forwarded-For": "203.0.113.7"}
    with example("proxy", tmp_path) as process, Client(process.port, headers=told) as client:
        assert client.recv() == "You come from 203.0.113.7."


ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, sys.argv[2]])
"""
"""What systemd does before it starts a program."""


@posix
def test_systemd(tmp_path):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(8)
        port = sock.getsockname()[1]
        program = str(EXAMPLES / "systemd.py")
        command = [sys.executable, "-c", ACTIVATE, str(sock.fileno()), program]
        with running(command, port, tmp_path, pass_fds=[sock.fileno()]), Client(port) as client:
            client.send("hello")
            assert client.recv() == "hello"
    with example("systemd", tmp_path) as process, Client(process.port) as client:
        client.send("hello")
        assert client.recv() == "hello"


def test_flask_app(tmp_path):
    pytest.importorskip("flask")
    port = free_port()
    path = copy("flask_app", tmp_path, {8000: port, "debug=True": "debug=False"})
    with running([sys.executable, str(path)], port, tmp_path):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as page:
            page.request("GET", "/")
            response = page.getresponse()
            assert "new WebSocket" in response.read().decode()
            cookie = response.headers["Set-Cookie"].partition(";")[0]
        assert refusal(port, "/ws").status == 401
        with Client(port, "/ws", headers={"Cookie": cookie}) as client:
            client.send("hello")
            assert client.recv() == "guest at 127.0.0.1: hello"


def test_django_view(tmp_path):
    pytest.importorskip("django")
    port = free_port()
    path = copy("django_view", tmp_path, {})
    command = [sys.executable, str(path), "runserver", "--noreload", str(port)]
    with running(command, port, tmp_path), Client(port, "/ws?user=ann") as client:
        client.send("hello")
        assert client.recv() == "ann: hello"
        assert fetch(port, "/notify?text=news") == (200, '{"delivered": 1}')
        assert client.recv() == "news"
        assert refusal(port, "/ws").status == 401


def test_wsgi_app(tmp_path):
    with example("wsgi_app", tmp_path) as process, Client(process.port, "/ws") as client:
        client.send("hello")
        assert client.recv() == "hello"
        assert fetch(process.port) == (200, "1 clients\n")


DJANGO_SETTINGS = """
SECRET_KEY = "test"
INSTALLED_APPS = ["app"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
"""


def test_django_command(tmp_path):
    pytest.importorskip("django")
    commands = tmp_path / "app" / "management" / "commands"
    commands.mkdir(parents=True)
    for folder in (commands, commands.parent, commands.parent.parent):
        (folder / "__init__.py").touch()
    (tmp_path / "settings.py").write_text(DJANGO_SETTINGS, encoding="utf-8")
    port = free_port()
    copy("django_command", commands, {8000: port}).rename(commands / "websockets.py")
    command = [sys.executable, "-m", "django", "websockets", "--settings=settings"]
    with running(command, port, tmp_path), Client(port) as client:
        client.send("hello")
        assert client.recv() == "HELLO"

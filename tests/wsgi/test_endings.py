"""What becomes of clients when a worker reloads, stops, has served enough, or is killed."""

from __future__ import annotations

import itertools
import os
import select
import shutil
import signal
import time

import pytest

from tests.support import ROOT
from tests.support.frames import close_frame
from tests.support.heads import request
from tests.support.rawclient import RawClient, connect
from tests.support.waiting import DEADLINE, eventually
from tests.wsgi import programs
from tests.wsgi.programs import (
    Site,
    cheroot,
    debugged,
    gthread,
    gunicorn,
    waitress,
    werkzeug,
    wsgiref,
)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


def assert_told(client):
    """The client was told that the server is going away, and TCP ends."""
    assert client.recv() == (1001, "server is shutting down")
    client.send_frames(close_frame(1001))
    assert client.at_eof()
    client.close()  # or the server would wait for it


def reconnect(site, path="/open"):
    """Connect as clients do that were told to go: again, until it works."""

    def attempt():
        try:
            client = RawClient(site.port, request(path))
        except (OSError, EOFError):
            return None
        return client if client.status == 101 else client.close()

    return eventually(attempt)


def ended(site):
    """Wait for the end of a program; return its exit code."""
    return site.process.wait(DEADLINE)


def prod(client, action):
    """Do something, again each second, until the server says something to the client.

    wsgiref swallows Ctrl-C while it handles a request, and reloaders look at the files later than
    the first request is served.
    """
    for _ in range(int(DEADLINE)):
        action()
        if select.select([client.sock], [], [], 1)[0]:
            return


@pytest.mark.parametrize("sign", ["SIGTERM", "SIGINT", "SIGQUIT"])
@pytest.mark.parametrize("server", [gunicorn, gthread])
def test_gunicorn_stops(server, sign):
    with Site(server("flask_app")) as site, site.connect() as client:
        time.sleep(0.5)  # gthread's handler hangs if its thread is still passing on the request
        site.signal(getattr(signal, sign))
        assert_told(client)
        assert ended(site) == 0


@pytest.mark.parametrize("server", [gunicorn, gthread])
def test_gunicorn_reloads(server):
    with Site(server("flask_app")) as site, site.connect() as client:
        before = site.state()["pid"]
        site.signal(signal.SIGHUP)
        assert_told(client)
        with reconnect(site) as again:
            again.send("back")
            assert again.recv() == "back"
        eventually(lambda: site.state()["pid"] != before)


@pytest.mark.parametrize("server", [gunicorn, gthread])
def test_a_worker_of_gunicorn_has_served_enough(server):
    command = server("flask_app", "--max-requests", "3")
    with Site(command) as site, site.connect() as one, site.connect() as two:
        three = connect(site.port, "/open")  # accepted, although it is the last
        for client in (one, two, three):
            assert_told(client)
        with reconnect(site) as again:
            again.send("back")
            assert again.recv() == "back"


@pytest.mark.parametrize("server", [gunicorn, gthread])
def test_a_worker_of_gunicorn_is_killed(server):
    with Site(server("flask_app")) as site, site.connect() as client:
        os.kill(site.state()["pid"], signal.SIGKILL)
        assert client.at_eof()
        with reconnect(site) as again:
            again.send("back")
            assert again.recv() == "back"


def test_a_hanging_worker_of_gunicorn_is_aborted():
    with Site(gunicorn("plain", "--timeout", "1")) as site, site.connect() as client:
        os.kill(site.state()["pid"], signal.SIGSTOP)
        assert client.at_eof()
        with reconnect(site):
            pass


@pytest.mark.parametrize("server", [waitress, cheroot, wsgiref, werkzeug])
def test_ctrl_c(server):
    with Site(server("flask_app")) as site, site.connect() as client:
        prod(client, lambda: site.signal(signal.SIGINT))
        assert_told(client)
        ended(site)


@pytest.mark.parametrize("server", [waitress, cheroot, wsgiref, werkzeug])
def test_a_server_without_a_handler_of_sigterm_leaves_nobody_hanging(server):
    with Site(server("flask_app")) as site, site.connect() as client:
        site.signal(signal.SIGTERM)
        assert client.at_eof()
        assert ended(site) == -signal.SIGTERM


@pytest.mark.parametrize("command", [debugged, programs.runserver])
def test_a_development_server_with_a_reloader_is_terminated(command):
    app = "flask_app" if command is debugged else "django_app"
    with Site(command(app)) as site, reconnect(site) as client:
        os.kill(site.state()["pid"], signal.SIGTERM)
        assert_told(client)
    with Site(command(app)) as site, reconnect(site) as client:
        site.signal(signal.SIGTERM)  # the reloader itself, which kills the server
        assert client.at_eof() or client.recv()[0] == 1001
        ended(site)


@pytest.mark.parametrize("command", [debugged, programs.runserver])
def test_a_development_server_reloads(tmp_path, command):
    app = "flask_app" if command is debugged else "django_app"
    path = tmp_path / "changing.py"
    shutil.copy(ROOT / f"tests/wsgi/apps/{app}.py", path)
    path.write_text(path.read_text().replace(f"tests.wsgi.apps.{app}", "changing"))
    arguments = [part.replace(f"tests.wsgi.apps.{app}", "changing") for part in command(app)]
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    modified = itertools.count(time.time() + 10)

    def touch():
        later = next(modified)
        os.utime(path, (later, later))

    with Site(arguments, env) as site, reconnect(site) as client:
        before = site.state()["pid"]
        prod(client, touch)
        assert_told(client)
        with reconnect(site) as again:
            again.send("back")
            assert again.recv() == "back"
        assert site.state()["pid"] != before

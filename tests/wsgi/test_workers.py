"""Several workers as one server, by a backplane; and a reverse proxy before them."""

from __future__ import annotations

import contextlib
import json
import os

import pytest

from tests.cluster.programs import Proxy
from tests.support.heads import request
from tests.support.rawclient import RawClient, connect
from tests.support.waiting import DEADLINE, eventually
from tests.wsgi.programs import Site, gthread, gunicorn


def where(client):
    """Return the address that the server has for a client, and the worker's process."""
    client.send("where")
    return json.loads(client.recv())


def spread(site, stack, number=2):
    """Connect until there is a client in each of two workers; return one of each."""
    clients = {}

    def attempt():
        client = stack.enter_context(site.connect())
        clients.setdefault(where(client)[1], client)
        return len(clients) == number

    eventually(attempt)
    return list(clients.values())


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["", "preload"])
@pytest.mark.parametrize("server", [gunicorn, gthread])
def test_two_workers_are_one_server(server, preload, redis):
    command = server("flask_app", "--workers", "2", *preload)
    with Site(command, redis=redis.url) as site, contextlib.ExitStack() as stack:
        one, two = spread(site, stack)
        eventually(lambda: site.state()["presence"] >= 2 and site.state()["presence"] >= 2)
        for number in range(10):  # by whichever worker gets the request
            site.notify(f"news {number}")
        for client in (one, two):
            assert sorted(client.recv() for _ in range(10)) == sorted(
                f"news {number}" for number in range(10)
            )
        assert site.runs


def test_a_worker_without_clients_reaches_those_of_others(redis):
    """The worker that gets the first POST has never taken a connection over."""
    command = gunicorn("flask_app")
    with contextlib.ExitStack() as stack:
        one, other = (stack.enter_context(Site(command, redis=redis.url)) for _ in range(2))
        client = stack.enter_context(one.connect())
        eventually(lambda: other.state()["presence"] == 1)
        assert other.notify("news") == 0
        assert client.recv() == "news"


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["", "preload"])
def test_each_worker_has_a_server_of_its_own(preload):
    command = gunicorn("flask_app", "--workers", "2", *preload)
    with Site(command) as site, contextlib.ExitStack() as stack:
        one, two = spread(site, stack)
        site.notify("news")
        one.send("one")
        two.send("two")
        assert sorted([one.recv(), two.recv()]) != ["one", "two"], "one worker has sent the news"


@pytest.mark.parametrize("server", [gunicorn, gthread])
def test_behind_nginx(server):
    command = server("flask_app")
    with contextlib.ExitStack() as stack:
        site = stack.enter_context(Site(command, trusted_proxies=["127.0.0.1"]))
        proxy = stack.enter_context(contextlib.closing(Proxy("nginx.conf", [site.port] * 3)))
        origin = f"Origin: http://localhost:{proxy.port}"
        head = request("/open", origin, host=f"localhost:{proxy.port}")
        told = "X-Forwarded-For: 203.0.113.7"
        with RawClient(proxy.port, head) as client, connect(site.port, "/open", told) as other:
            assert client.status == 101
            client.send("x" * 70_000)
            assert client.recv() == "x" * 70_000
            assert where(client)[0] == "127.0.0.1"
            assert where(other)[0] == "203.0.113.7"
            assert site.notify("news") == 2
            assert client.recv() == other.recv() == "news"
        with RawClient(proxy.port, request("/open", origin, host="localhost")) as client:
            assert client.status == 403


@pytest.mark.skipif(os.name != "posix", reason="Unix sockets as POSIX has them")
def test_a_unix_socket_of_gunicorn(tmp_path):
    path = tmp_path / "app.sock"
    command = gunicorn("flask_app", "--bind", f"unix:{path}")
    with Site(command, trusted_proxies=["unix"]) as site:
        eventually(path.exists, DEADLINE)
        head = request("/open", "X-Forwarded-For: 203.0.113.7")
        with RawClient(0, head, unix=str(path)) as client:
            assert client.status == 101
            assert where(client)[0] == "203.0.113.7"
            assert site.notify("news") == 1
            assert client.recv() == "news"

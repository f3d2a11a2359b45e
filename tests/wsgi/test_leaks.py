"""Thousands of hand-overs and ends leave nothing behind, and the worker has counted right."""

from __future__ import annotations

import os
import sys

import pytest

from tests.support.frames import close_frame
from tests.support.heads import request
from tests.support.rawclient import RawClient
from tests.support.waiting import eventually
from tests.wsgi.programs import Site, cheroot, gthread, gunicorn, waitress, werkzeug, wsgiref

HAND_OVERS = int(os.environ.get("HAND_OVERS", "2000"))
MEMORY_BYTES = 3 << 20
"""By how much the process may have grown after all of them."""
IN_A_ROW = 20


def cycle(site, number):
    """Connect clients and have them end, each in one of four ways; wait until all are gone."""
    for first in range(0, number, IN_A_ROW):
        for which in range(first, min(first + IN_A_ROW, number)):
            with RawClient(site.port, request("/open" if which % 4 else "/ws")) as client:
                if which % 4 == 0:  # refused by the view
                    assert client.status == 401
                    continue
                client.send("hello")
                if which % 4 > 1:
                    assert client.recv() == "hello"
                if which % 4 == 3:
                    client.send_frames(close_frame(1000))
                    assert client.recv() == (1000, "")
    eventually(lambda: site.state()["connections"] == 0)


@pytest.mark.skipif(sys.platform != "linux", reason="counts in /proc")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("server", [gunicorn, gthread, waitress, cheroot, wsgiref, werkzeug])
def test_nothing_is_left_of_clients_that_have_gone(server):
    gunicorns = ("--config=python:tests.wsgi.counts",) if server in (gunicorn, gthread) else ()
    with Site(server("flask_app", *gunicorns)) as site:
        cycle(site, 300)
        before = site.state()
        cycle(site, HAND_OVERS)
        after = eventually(lambda: settled(site, before))
        grown = (after["pages"] - before["pages"]) * os.sysconf("SC_PAGE_SIZE")
        assert grown < MEMORY_BYTES
        assert after["pid"] == before["pid"]


def settled(site, before):
    """Return the state, once there are no more descriptors and threads than before."""
    state = site.state()
    few = state["descriptors"] <= before["descriptors"] and state["threads"] <= before["threads"]
    few = few and state["worker_connections"] == before["worker_connections"]
    return state if few else None

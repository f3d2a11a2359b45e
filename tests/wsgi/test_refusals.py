"""Servers whose connections can't be taken over say so: 501 to the client, one line in the log."""

from __future__ import annotations

import ssl

import pytest
import trustme

from tests.support.frames import TEXT, frame
from tests.support.heads import request
from tests.support.processes import module
from tests.support.rawclient import RawClient
from tests.wsgi.programs import Site, gthread, gunicorn, waitress, werkzeug


def assert_refused(site, reason, processes=1, **options):
    """Two clients get the reason; the log of each process has it once, and nothing else."""
    for _ in range(2):
        with RawClient(site.port, request("/open"), **options) as client:
            assert client.status == 501
            size = client.response.lower().partition("content-length: ")[2].partition("\r")[0]
            assert reason in client.read(int(size)).decode()
    assert site.output().count(reason) == processes, site.output()
    assert "Traceback" not in site.output()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """The path of a certificate with its key, and a client's context."""
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    authority, context = trustme.CA(), ssl.create_default_context()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path)
    authority.configure_trust(context)
    return path, context


@pytest.mark.parametrize("server", [gunicorn, gthread, werkzeug])
def test_tls_that_the_server_itself_ends(server, certificate):
    path, context = certificate
    names = ("--cert", "--key") if server is werkzeug else ("--certfile", "--keyfile")
    with Site(server("flask_app", *(f"{name}={path}" for name in names))) as site:
        assert_refused(site, "the WSGI server itself ends TLS", context=context)


def test_a_worker_of_gunicorn_with_greenlets():
    with Site(gunicorn("flask_app", "--worker-class=gevent")) as site:
        assert_refused(site, "isn't a socket that threads can serve")


def test_a_process_for_each_request():
    with Site(module("tests.wsgi.programs", "processes", "flask_app")) as site:
        assert_refused(site, "its process ends with the request", processes=2)


def test_waitress_that_reads_on():
    with Site(waitress("plain", "--channel-request-lookahead=1")) as site:
        assert_refused(site, "don't set channel_request_lookahead")


def test_waitress_with_a_frame_that_it_takes_for_a_request():
    with Site(waitress("plain")) as site:
        early = frame(TEXT, b"\r\n\r\n", key=b"\0\0\0\0")
        with RawClient(site.port, request("/open") + early) as client:
            assert client.status == 400
        with site.connect():
            pass


def test_flask_is_told_of_a_rule_that_gets_no_websockets():
    with Site(gunicorn("flask_app")) as site:
        for _ in range(2):
            status, body, _ = site.fetch("/forgotten")
            assert status == 426
            assert "/forgotten gets no WebSockets: write @app.route(..., websocket=True)" in body
        assert site.output().count("gets no WebSockets") == 1

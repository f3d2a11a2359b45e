"""The process: how it starts, what it says, how it ends, and what it refuses."""

from __future__ import annotations

import os
import signal
import socket
import ssl

import pytest
import trustme

from tests.chat.processes import SCRIPT, chatting, refused, start
from tests.support.client import Client
from tests.support.waiting import DEADLINE
from ws import ConnectionClosed


@pytest.fixture
def process():
    with chatting(0) as process:
        yield process


def test_the_script_works_from_any_folder(tmp_path):
    with chatting(0, how=SCRIPT, cwd=tmp_path) as process, Client(process.port) as alice:
        alice.send("hello")
        assert alice.recv() == "Guest 1: hello"


def test_it_prints_its_url(process):
    assert process.line == f"Chat on http://localhost:{process.port}/ (Ctrl-C ends it)\n"


def test_host_is_where_it_listens():
    with chatting("--host", "127.0.0.1", 0) as process:
        assert process.line.startswith(f"Chat on http://127.0.0.1:{process.port}/ ")


def test_a_certificate_makes_it_https_and_wss(tmp_path):
    authority = trustme.CA()
    cert, context = str(tmp_path / "cert.pem"), ssl.create_default_context()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(cert)
    authority.configure_trust(context)
    with chatting("--cert", cert, 0) as process:
        assert process.scheme == "https"
        with Client(process.port, ssl_context=context) as alice:
            alice.send("hello")
            assert alice.recv() == "Guest 1: hello"


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_it(process, name):
    with Client(process.port) as alice:
        alice.send("hello")
        assert alice.recv() == "Guest 1: hello"
        process.send_signal(getattr(signal, name))
        with pytest.raises(ConnectionClosed, match="1001"):
            alice.recv()
    out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out, err) == (0, "", "")


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


def test_a_file_that_is_no_certificate():
    assert f"{__file__}: not a certificate" in refused(0, "--cert", __file__)


@pytest.mark.parametrize(
    "arguments", [("http",), ("-1",), ("65536",), ("0", "--key", "key.pem"), ("0", "1")]
)
def test_wrong_arguments(arguments):
    process = start(*arguments)
    out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out) == (2, "")
    assert "usage: " in err
    assert "Traceback" not in err

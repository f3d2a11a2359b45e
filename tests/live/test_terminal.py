"""``python -m ws connect``: lines in, messages out."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support import ROOT
from tests.support.processes import Program, module
from tests.support.waiting import DEADLINE, eventually


@pytest.fixture
def talk():
    """Start ``python -m ws connect`` with arguments."""
    programs = []

    def start(*arguments):
        programs.append(Program(module("ws", "connect", *arguments), talks=True))
        return programs[-1]

    yield start
    for program in programs:
        program.close()


def test_lines_in_messages_out(serve, talk):
    serving = serve()
    program = talk(serving.server.url, "--header", "X-Token: t", "--subprotocol", "a")
    client = serving.next("open")
    assert client.request.headers["x-token"] == "t"
    assert program.ask("hello") == "hello\n"
    serving.server.send(client, b"\0")
    assert program.read_line() == "b'\\x00'\n"
    assert program.end() == 0
    assert serving.next("close").close_code == 1000
    assert program.output() == "closed: 1000\n"


def test_the_server_closes(serve, talk):
    serving = serve()
    program = talk(serving.server.url)
    serving.server.close(serving.next("open"), 4000, "enough")
    assert program.process.wait(DEADLINE) == 0
    assert program.output() == "closed: 4000 enough\n"


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_ctrl_c_closes_politely(serve, talk):
    serving = serve()
    program = talk(serving.server.url)
    client = serving.next("open")
    assert program.ask("ready") == "ready\n"
    program.signal(signal.SIGINT)
    assert program.process.wait(DEADLINE) == 0
    eventually(lambda: client.close_code == 1001)
    assert "Traceback" not in program.output()


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1/", "ftp://x"])
def test_errors_are_one_line(url):
    command = module("ws", "connect", url)
    done = subprocess.run(
        command, cwd=str(ROOT), stderr=subprocess.PIPE, timeout=DEADLINE, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"ws: ")
    assert done.stderr.count(b"\n") == 1

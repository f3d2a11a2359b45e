"""``python -m ws connect``: lines in, messages out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.support import ROOT
from tests.support.processes import Program, module, popen
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


def pipe(data, *arguments):
    """Run ``python -m ws connect`` with this standard input."""
    return subprocess.run(
        module("ws", "connect", *arguments),
        cwd=str(ROOT),
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "NO_PROXY": "*"},
        input=data,
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )


def test_replies_to_piped_input_are_awaited(serve):
    serving = serve()

    @serving.server.onmessage
    def reply(client, message):
        time.sleep(0.01)
        serving.server.send(client, message)
        if message == "49":
            serving.server.close(client, 4000)

    lines = b"".join(b"%d\n" % number for number in range(50))
    done = pipe(lines, serving.server.url, "--wait", DEADLINE)
    assert done.stdout.split() == lines.split()
    assert done.stderr.split() == [b"closed:", b"4000"]


def test_after_piped_input_it_closes_when_nothing_comes_any_more(serve):
    done = pipe(b"x\n", serve().server.url, "--wait", 0.1)
    assert (done.returncode, done.stderr.split()) == (0, [b"closed:", b"1000"])


def test_input_may_be_anything(serve):
    assert pipe(b"a\xff\n", serve().server.url).stdout.decode().rstrip() == "a\ufffd"


def test_a_header_needs_a_colon(serve):
    serving = serve()
    done = pipe(b"", serving.server.url, "--header", "X-Token:t")
    assert done.returncode == 0
    assert serving.next("open").request.headers["x-token"] == "t"
    done = pipe(b"", serving.server.url, "--header", "X-Token")
    assert done.returncode == 2
    assert b"not NAME: VALUE: 'X-Token'" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
def test_whoever_reads_the_messages_may_leave(serve):
    serving = serve()
    command = module("ws", "connect", serving.server.url)
    process = popen(command, cwd=str(ROOT), stdin=subprocess.PIPE)
    client = serving.next("open")
    process.stdout.close()
    serving.server.send(client, "to nobody")
    assert process.wait(DEADLINE) == 0
    assert process.stderr.read().split() == [b"closed:", b"1000"]
    assert client.close_code == 1000
    process.stdin.close()
    process.stderr.close()


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1/", "ftp://x"])
def test_errors_are_one_line(url):
    done = pipe(b"", url)
    assert done.returncode == 2
    assert done.stderr.startswith(b"ws: ")
    assert done.stderr.count(b"\n") == 1

"""The README: its examples compile, the first one runs, its tables tell the truth."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import asdict

import pytest

from tests.support import ROOT
from tests.support.client import Client
from tests.support.processes import free_port, listens
from tests.support.waiting import DEADLINE, eventually
from ws import Limits, WSClient, WSServer

README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = dict(
    re.findall(r"^###? ([^\n]+)\n(?:(?!^##).)*?^```python\n(.*?)^```", README, re.M | re.S)
)
"""The code blocks, by the heading above each."""
UNITS = {"": 1, "s": 1, "frames": 1, "KiB": 1 << 10, "MiB": 1 << 20}


def test_every_python_block_is_an_example():
    assert len(EXAMPLES) == README.count("```python\n") > 5


@pytest.mark.parametrize("title", EXAMPLES)
def test_examples_compile(title):
    compile(EXAMPLES[title], title, "exec")


def test_the_basic_server_runs_as_a_program_of_its_own(tmp_path):
    port = free_port()
    program = EXAMPLES["Basic server"].replace("port=8000", f"port={port}")
    assert str(port) in program
    path = tmp_path / "basic.py"
    path.write_text(program, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, str(path)], env=env, cwd=str(tmp_path))
    try:
        eventually(lambda: process.poll() is not None or listens(port))
        with Client(port) as one, Client(port) as other:
            one.send("hello, wörld")
            assert one.recv() == other.recv() == "hello, wörld"
        if os.name == "posix":
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
        process.wait()


def test_callbacks_can_be_tested():
    namespace = {}
    exec(EXAMPLES["Testing your own callbacks"], namespace)
    namespace["test_echo"]()


def test_the_limits_are_those_of_the_library():
    section = README.partition("\n## Limits\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| `?'?(\w+)'? ?(\w*)`? \|", section, re.M)
    told = {
        name: int(value) * UNITS[unit] if value.isdigit() else value for name, value, unit in rows
    }
    limits = asdict(Limits())
    del limits["max_memory"]  # whose default is the machine's
    assert told == limits
    assert "\n| `max_memory` | " in section


def test_the_api_tables_name_what_there_is():
    assert told("API") == {name for name in dir(WSServer(port=0)) if name[0] != "_"} - {
        *("host", "origins", "subprotocols"),  # which just repeat an option
    }


def test_the_table_of_the_client_names_what_there_is():
    client = WSClient("ws://localhost/")
    assert told("The client") == {name for name in dir(client) if name[0] != "_"} - {
        "limits",
        "url",
    }


def told(heading):
    """Return the names in the first columns of a section's tables."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", section, re.M)
    return {name for cell in cells for name in re.findall(r"`(\w+)", cell)} - {"with"}

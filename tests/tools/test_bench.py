"""The benchmark, its comparisons, its gate and its page."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("matplotlib", reason="no matplotlib: pip install matplotlib")
pytest.importorskip("psutil", reason="no psutil: pip install psutil")

from bench import gate
from bench.cells import BY_NAME, CALLBACKS, OURS
from bench.compare import compare
from bench.instructions import talk
from bench.load import Load, LoadError
from bench.peers import CLIENTS, PEERS, SERVERS
from bench.programs import Client, Server
from bench.results import Results, Spread, read, write
from tests.support import ROOT
from tests.tools.conftest import PATIENCE_SECONDS, Tool

SVG = "{http://www.w3.org/2000/svg}"
pytestmark = pytest.mark.timeout(2 * PATIENCE_SECONDS)
SHORT = ("--rounds", 1, "--seconds", 0.1)
CELL = "echo-16x1-32"


@pytest.fixture(scope="module")
def published() -> Results:
    return read(ROOT / "docs/performance/servers.json")


def test_a_cell_is_measured(tool: Tool, tmp_path: Path):
    output = tmp_path / "new.json"
    said = tool("bench", "--only", CELL, "--peer", OURS, *SHORT, "--output", output)
    assert re.search(rf"^  {OURS} +[\d.]+ [kM]? .* µs CPU", said, re.MULTILINE), said
    figures = read(output)["cells"][CELL]["peers"][OURS]
    assert figures["rate"].median > 100
    assert 0 < figures["cpu_us"].median < 10_000


@pytest.mark.parametrize("name", SERVERS)
def test_each_server_echoes(name: str):
    if PEERS[name].missing:
        pytest.skip(f"no {PEERS[name].missing}: see bench/peers/requirements.txt and package.json")
    with Server(PEERS[name].command("0")) as server:
        talk(BY_NAME[CELL], server.port, turns=2)  # and wait for all replies


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    if not shutil.which("cc"):
        pytest.skip("no cc: on Debian, apt-get install gcc libc6-dev")
    return Load(str(tmp_path_factory.mktemp("load")))


@pytest.mark.parametrize("name", [name for name in CLIENTS if name != "npm-ws"])
def test_each_client_gets_what_it_has_sent(name: str, load: Load):
    if CLIENTS[name].missing:
        pytest.skip(f"no {CLIENTS[name].missing}: see bench/peers/requirements.txt")
    cell = replace(BY_NAME["client-memory-1000"], size=70_000)
    with load.other_end(cell) as server, Client(name, cell, server.url) as client:
        assert client.hold(1) == 1  # it has compared
        assert client.hold(5) == 5


@pytest.mark.parametrize(
    "name", ["client-echo-32", "client-stream-32", "client-echo-64k-binary", "client-connect"]
)
def test_each_kind_of_client_is_measured(tool: Tool, tmp_path: Path, load: Load, name: str):
    output = tmp_path / "new.json"
    arguments = ("--only", name, "--peer", OURS, *SHORT, "--output", output)
    said = tool("bench", *arguments, "--peer", CALLBACKS)
    found = read(output)["cells"][name]
    assert found["errors"] == {}
    for peer in (OURS, CALLBACKS):
        figures = found["peers"][peer]
        assert figures["rate"].median > 10
        assert 0 < figures["cpu_us"].median < 100_000
    if name == "client-echo-32":
        assert found["ceiling"] > 10
        assert "One at a time, median latency" not in said  # there is nobody to compare with


def test_a_client_that_ends_is_an_error(load: Load):
    cell = replace(BY_NAME["client-echo-32"], seconds=30.0)
    with load.other_end(cell) as server, Client(OURS, cell, server.url) as client:
        threading.Timer(1, client.process.kill).start()
        with pytest.raises(LoadError, match=r"cut its connection|has done nothing"):
            server.measure(cell, client)


def test_clients_need_a_compiler(tool: Tool, tmp_path: Path):
    output = tmp_path / "new.json"
    arguments = ("--only", "client-echo-32", "--peer", OURS, *SHORT, "--output", output)
    tool("bench", *arguments, "--python-load")
    assert "compiler" in read(output)["cells"]["client-echo-32"]["errors"][OURS]


@pytest.mark.parametrize(
    "cell", ["blocking-rate", "broadcast-100x1-64-deaf", "connect-tls", "tls-16x1-32"]
)
def test_each_kind_of_load_is_put_on(tool: Tool, tmp_path: Path, cell: str):
    output = tmp_path / "new.json"
    tool("bench", "--only", cell, "--peer", OURS, *SHORT, "--output", output)
    found = read(output)["cells"][cell]
    assert found["errors"] == {}
    assert found["peers"][OURS]["rate"].median > 0


def test_load_without_a_compiler(tool: Tool, tmp_path: Path):
    output = tmp_path / "new.json"
    arguments = ("--only", CELL, "--peer", OURS, *SHORT, "--python-load", "--output", output)
    said = tool("bench", *arguments)
    assert f"\n  {OURS}" in said
    assert "Python" in read(output)["load"]
    assert read(output)["cells"][CELL]["peers"][OURS]["rate"].median > 100


def test_one_that_runs_already_is_loaded(tool: Tool):
    with Server(PEERS[OURS].command("0")) as server:
        said = tool("bench", "--load", server.port, "--only", CELL, *SHORT)
    assert re.search(r"'messages': [1-9]", said), said


def test_two_checkouts_are_compared(tool: Tool, tmp_path: Path):
    shutil.copytree(ROOT / "ws", tmp_path / "ws")
    said = tool("bench", "--against", tmp_path, "--only", CELL, *SHORT)
    *_, row = said.splitlines()
    assert re.fullmatch(rf"\| {CELL} (\| [\d.,]+( k)? \| [\d.,]+( k)? \| .* ){{3}}\|", row), said


def test_a_folder_without_the_package_is_no_checkout(tool: Tool, tmp_path: Path):
    said = tool("bench", "--against", tmp_path, "--only", CELL, *SHORT)
    assert re.search(rf"\| {CELL} \| .* doesn't start: ", said), said


def test_the_page_is_what_the_results_make_of_it(tool: Tool, tmp_path: Path):
    tool("bench", "--page", tmp_path)
    assert (tmp_path / "performance.md").read_text() == (ROOT / "docs/performance.md").read_text()
    for path in (ROOT / "docs/performance").glob("*.svg"):
        drawn = ElementTree.parse(tmp_path / "performance" / path.name).getroot()
        assert drawn.tag == f"{SVG}svg"
        assert len(list(drawn.iter(f"{SVG}path"))) > 10


def test_what_is_written_is_what_is_read(tmp_path: Path, published: Results):
    write(published, tmp_path / "again.json")
    assert read(tmp_path / "again.json") == published
    text = (ROOT / "docs/performance/servers.json").read_text()
    assert (tmp_path / "again.json").read_text() == text


def with_our_rate_times(factor: float, results: Results) -> Results:
    changed = copy.deepcopy(results)
    for cell in changed["cells"].values():
        figures = cell["peers"].get(OURS, {})
        if "rate" in figures:
            figures["rate"] = Spread(*(factor * value for value in figures["rate"]))
    return changed


def test_changes_are_shown(published: Results):
    faster = {**published, "cells": {CELL: published["cells"][CELL]}}
    said = compare(published, with_our_rate_times(1.25, faster))
    assert re.search(rf"^{CELL} .* \+25% +\+0% ", said, re.MULTILINE), said


def test_the_gate_shuts_on_a_collapse_only(published: Results, capsys):
    lasting = {factor: with_our_rate_times(factor, published) for factor in (0.4, 0.6, 1.0)}

    def check(first: float, second: float, others: float = 0.0) -> int:
        return gate.check(lasting[first], lambda cell: lasting[second], lambda: others)

    assert check(1.0, 1.0) == 0
    assert check(0.6, 0.6) == 0
    assert check(0.4, 1.0) == 0  # it was the machine
    capsys.readouterr()
    assert check(0.4, 0.4, others=0.2) == 1
    assert "has collapsed" in capsys.readouterr().out
    assert check(0.4, 0.4, others=0.3) == 0
    assert "not judged" in capsys.readouterr().out


def test_other_programs_are_measured():
    others = gate.OtherPrograms()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        time.sleep(1)
        share = others.share()
        busy.kill()
    assert share > 0.25 / (os.cpu_count() or 1)


def test_the_gate_measures(tool: Tool, tmp_path: Path):
    output = tmp_path / "new.json"
    said = tool("bench", "--gate", "--only", CELL, "--peer", OURS, *SHORT, "--output", output)
    assert "bench: no collapse" in said


def test_instructions_are_counted(tool: Tool):
    if not shutil.which("valgrind"):
        pytest.skip("no valgrind: on Debian, apt-get install valgrind")
    said = tool("bench.instructions", "--messages", 32, CELL)
    (count,) = re.findall(rf"^\| {CELL} \| ([\d,]+) \|$", said, re.MULTILINE)
    assert 5_000 < int(count.replace(",", "")) < 500_000


def test_instructions_say_what_is_missing(tool: Tool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    tool("bench.instructions", codes=(2,))

"""The crowds: their table, and the page that compares other libraries."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support import ROOT
from tests.tools.conftest import PATIENCE_SECONDS, Tool

pytestmark = [
    pytest.mark.timeout(2 * PATIENCE_SECONDS),
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="what a process uses is in /proc"
    ),
]
SHORT = ("--seconds", 0.2)


def test_the_table_is_measured_and_written(tool: Tool, tmp_path: Path):
    shutil.copy(ROOT / "docs/threats.md", tmp_path)
    output = tmp_path / "figures.json"
    there = ("--write-table", "--docs", tmp_path, "--output", output)
    said = tool("tests.attacks.crowds", "nobody", "sleeping", *SHORT, *there)
    assert re.search(r"^Callbacks that sleep .* 64 .* ms .* p99 ≤ ", said, re.MULTILINE), said
    assert [each["others"]["lost"] for each in json.loads(output.read_text())] == [0, 0]
    _, _, rest = (tmp_path / "threats.md").read_text().partition("<!-- crowds: ")
    table, _, _ = rest.partition("<!-- end of crowds -->")
    assert [row.split(" | ")[0] for row in table.splitlines() if row.startswith("|")] == [
        "| Attack",
        "| :---",
        "| No attack",
        "| Callbacks that sleep for 10 ms",
    ]


def test_others_are_compared(tool: Tool, tmp_path: Path):
    pytest.importorskip("matplotlib", reason="no matplotlib: pip install matplotlib")
    tool("tests.attacks.crowds", "nobody", *SHORT, "--peers", "--docs", tmp_path)
    found = json.loads((tmp_path / "crowds/results.json").read_text())["found"]["nobody"]
    assert all(figures["others"]["messages"] > 5 for figures in found.values()), found


def test_the_page_is_what_the_results_make_of_it(tool: Tool, tmp_path: Path):
    pytest.importorskip("matplotlib", reason="no matplotlib: pip install matplotlib")
    tool("tests.attacks.crowds", "--peers", "--redraw", "--docs", tmp_path)
    for name in ("crowds.md", "crowds/results.json"):
        assert (tmp_path / name).read_text() == (ROOT / "docs" / name).read_text()
    drawn = ElementTree.parse(tmp_path / "crowds/waiting.svg").getroot()
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}path"))) > 10

"""The crowds: their table, and the page that compares other libraries."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.attacks.crowds.peers import RESULTS
from tests.attacks.figures import Bounds, Figures, text
from tests.attacks.honest_clients import Seen
from tests.support import ROOT
from tests.support.tables import table
from tests.tools.conftest import PATIENCE_SECONDS, Tool

pytestmark = [
    pytest.mark.timeout(2 * PATIENCE_SECONDS),
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="what a process uses is in /proc"
    ),
]
SHORT = ("--seconds", 0.2)
FEW = ("threaded-ws", "websockets-sync")


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
    tool("tests.attacks.crowds", "nobody", *SHORT, "--docs", tmp_path, "--peers", *FEW)
    found = json.loads((tmp_path / "crowds/results.json").read_text())["found"]["nobody"]
    assert tuple(found) == FEW
    assert all(figures["others"]["messages"] > 5 for figures in found.values()), found


def test_the_page_is_what_the_results_make_of_it(tool: Tool, tmp_path: Path):
    pytest.importorskip("matplotlib", reason="no matplotlib: pip install matplotlib")
    if not RESULTS.exists():
        pytest.skip("no results are published yet")
    tool("tests.attacks.crowds", "--peers", "--redraw", "--docs", tmp_path)
    for name in ("crowds.md", "crowds/results.json"):
        assert (tmp_path / name).read_text() == (ROOT / "docs" / name).read_text()
    drawn = ElementTree.parse(tmp_path / "crowds/waiting.svg").getroot()
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}path"))) > 10


def figures(bounds: Bounds, **changes: object) -> Figures:
    """Return those of an attack that has cost 10 ms, 1 s of CPU time, and 5 MiB."""
    saw = {"messages": 9, "lost": 0, "sent": 99, "errors": [], "late": 0.1}
    times = dict.fromkeys(("p50", "p99", "max", "worked_p99", "worked_max"), 10.0)
    others = Seen(**{**saw, **times, **changes})  # type: ignore[arg-type]
    return Figures("An attack", 3, 2000, others, None, 1.0, 2.0, 5.0, bounds)


@table(
    "bounds, changes, wrong",
    ("nothing asked", Bounds(), {}, []),
    ("within all", Bounds(p99=10, max=10, cpu=1, memory=5), {}, []),
    ("a busy machine", Bounds(p99=5, max=5, cpu=0.5), {"p99": 900.0, "max": 9000.0}, []),
    ("a message lost", Bounds(), {"lost": 1}, ["1 messages lost"]),
    ("an error", Bounds(), {"errors": ["closed"]}, ["closed"]),
    ("work for others", Bounds(p99=3), {}, ["10.0 ms of CPU while others waited, p99, over 9.0"]),
    ("the same, once", Bounds(max=3), {}, ["10.0 ms of CPU while others waited, max, over 9.0"]),
    (
        "a long wait",
        Bounds(p99=20),
        {"p99": 1021.0},
        ["1,021.0 ms that others waited, p99, over 1,020.0"],
    ),
    ("CPU time", Bounds(cpu=0.3), {}, ["1.0 s of CPU, over 0.9"]),
    ("memory", Bounds(memory=4.9), {}, ["5.0 MiB, over 4.9"]),
)
def test_what_is_beyond_the_bounds(bounds: Bounds, changes: dict[str, object], wrong: list[str]):
    assert figures(bounds, **changes).excess() == wrong


def test_figures_survive_a_file():
    found = figures(Bounds(p99=3), lost=2)
    assert Figures.unpack(json.loads(json.dumps(found.pack()))) == found


def test_the_table_marks_what_is_beyond_its_bound():
    _, row, *_ = text([figures(Bounds(p99=3, max=30), max=12.0)])
    assert (
        row.split()
        == (
            "An attack 3 2.0 kB 10 ms 10 ms! 12 ms 1.0 of 2.0 s +5 MiB p99 ≤ 3.0 ms, max ≤ 30 ms"
        ).split()
    )

"""Pictures, tables and pages that other tools make, and the one that cleans up."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
from importlib import util
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support import ROOT
from tests.tools import wstest
from tests.tools.conftest import PATIENCE_SECONDS, Tool

pytestmark = pytest.mark.timeout(2 * PATIENCE_SECONDS)


def needs(*packages: str) -> None:
    for package in packages:
        if not util.find_spec(package):
            pytest.skip(f"no {package}: pip install {package}")


def parses(picture: Path) -> bool:
    return ElementTree.parse(picture).getroot().tag.endswith("}svg")


def test_the_soak_runs_and_is_drawn(tool: Tool, tmp_path: Path):
    needs("matplotlib", "trustme")
    picture = tmp_path / "soak.svg"
    # So short a run may end while memory still grows, which is no fault of the tool.
    said = tool("tests.soak", "--minutes", 0.02, "--picture", picture, codes=(0, 1))
    assert re.search(r"0\.02 minutes: [\d,]+ messages on [1-9][\d,]* connections", said), said
    assert re.fullmatch(r"[\d.]+ in the .*", said.partition("memory, MiB: ")[2].splitlines()[0])
    assert parses(picture)


def needs_redis() -> None:
    needs("redis")
    from tests.cluster.programs import REDIS, find

    if not find(*REDIS):
        pytest.skip(f"no Redis: on Debian, apt-get install {REDIS[0]}")


def test_nodes_are_measured_and_drawn(tool: Tool, tmp_path: Path):
    needs("matplotlib")
    needs_redis()
    picture = tmp_path / "scale.svg"
    few = ("--rounds", 10, "--seconds", 0.1, "--nodes", 1, "--clients", 3)
    said = tool("bench.scale.nodes", *few, "--picture", picture)
    assert re.search(r"^\| to a client of another node \| \d+ \| \d+ \|$", said, re.MULTILINE)
    assert re.search(r"^\| streams \| \d+ \| \d+ \| [\d.]+ \|$", said, re.MULTILINE)
    assert re.search(r"^\| 1 \| [\d,]+ \| [\d,]+ \| [\d.]+ \|$", said, re.MULTILINE)
    assert parses(picture)


def test_several_servers_are_measured(tool: Tool):
    needs("psutil")
    needs_redis()
    said = tool("bench.scale.leaders", sys.executable, "--rounds", 1, "--seconds", 0.05)
    assert len(re.findall(r"\| [\d.]+ \| [\d.]+–[\d.]+ \|$", said, re.MULTILINE)) == 9, said


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have another program in the place of Autobahn's."""
    needs("docker")
    monkeypatch.setenv("WSTEST", f"{sys.executable} {wstest.__file__}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.usefixtures("suite")
def test_the_league_is_played_and_kept(tool: Tool, tmp_path: Path):
    arguments = ("threaded-ws", "--cases", "1.1.1", "9.1.1", "--reports", tmp_path / "league")
    said = tool("conformance.league", *arguments)
    assert "threaded-ws: 2 OK of 2" in said
    folder = tmp_path / "league/servers"
    page = (folder / "index.html").read_text()
    assert ">1.1.1</a>" in page
    assert (folder / "threaded-ws/case_1_1_1.html").exists()
    tool("conformance.league", *arguments[:3], *arguments[4:])  # in parts
    assert ">9.1.1</a>" in (folder / "index.html").read_text()


def playing_clients() -> list[str]:
    try:
        from conformance.league import SIDES
    except ImportError:  # no docker: the test says so
        return ["threaded-ws"]
    return SIDES[1].contestants


@pytest.mark.usefixtures("suite")
@pytest.mark.parametrize("name", playing_clients())
def test_each_client_plays(tool: Tool, tmp_path: Path, name: str):
    from bench.peers import CLIENTS

    if CLIENTS[name].missing:
        pytest.skip(f"no {CLIENTS[name].missing}: see bench/peers")
    arguments = (name, "--clients", "--cases", "1.1.1", "9.1.1", "--reports", tmp_path / "league")
    said = tool("conformance.league", *arguments)
    assert f"{name}: 2 OK of 2" in said
    assert (tmp_path / f"league/clients/{name}/case_9_1_1.html").exists()


def test_a_section_of_the_league_is_replaced():
    needs("docker")
    from conformance.image import SUITE
    from conformance.league import DOCUMENT, put

    document = DOCUMENT.read_text()
    assert SUITE.replace("==", " ") in document
    before, _, rest = document.partition("## Servers\n")
    _, _, clients = rest.partition("## Clients\n")
    assert put(document, "Servers", "\nNothing.\n") == (
        f"{before}## Servers\n\nNothing.\n\n## Clients\n{clients}"
    )
    assert put(document, "Clients", "\nNothing.\n").endswith("## Clients\n\nNothing.\n")


def chromium() -> dict[str, object]:
    """Return how Playwright starts it."""
    needs("playwright")
    from e2e.browsers import advice, launch_options

    options = launch_options().get("chromium")
    return pytest.skip(advice("chromium")) if options is None else options


def test_the_report_of_many_servers_needs_no_scrolling_sideways(tmp_path: Path):
    needs("docker")
    options = chromium()
    from playwright.sync_api import sync_playwright

    from bench.peers import SERVERS
    from conformance import report
    from conformance.cases import CASES
    from conformance.harness import Run
    from conformance.league import SIDES
    from conformance.results import Outcome, Result
    from conformance.testees import OURS, Testee

    league = [
        Testee(name, f"{SERVERS[name].title} 17.10.12", CASES, "") for name in SIDES[0].contestants
    ]
    for name, testees in (("ours", list(OURS.values())), ("league", league)):
        run = Run([Outcome(each, each.cases) for each in testees], tmp_path / name, workers=0)
        for outcome in run.outcomes:  # the widest table there can be: all failed, and took long
            for case in outcome.cases:
                outcome.results[case] = Result(case, "FAILED", milliseconds=99_999, page="x")
        run.folder.mkdir()
        report.write(run)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**options)
        for name, width in itertools.product(("ours", "league"), (1000, 1100, 1300, 1700)):
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.goto((tmp_path / name / "index.html").as_uri())
            page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            boxes = page.evaluate(
                "['html', '.matrix', '.times'].map(each => document.querySelector(each))"
                ".map(each => [each.parentElement ?? each, each])"
                ".map(([box, each]) => [each.scrollWidth, box.clientWidth])"
            )
            assert all(content <= box for content, box in boxes), (name, width, boxes)
            page.close()
        browser.close()


def test_pictures_of_the_page(tool: Tool, tmp_path: Path):
    needs("PIL")
    chromium()
    from PIL import Image

    tool("e2e.shots", "--quick", "--any-font", "--folder", tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"chat.gif", "chat-light.png", "chat-dark.png", "chat-phone.png"}
    for name in names:
        with Image.open(tmp_path / name) as picture, Image.open(ROOT / "docs" / name) as published:
            assert picture.size == published.size
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 50


def test_clean_removes_results_and_nothing_else(tmp_path: Path):
    needs("nox")
    shutil.copy(ROOT / "noxfile.py", tmp_path)
    for name in ("build", "e2e/results", "conformance/reports", "ws"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("build/x", "e2e/results/x", "bench/results.json", ".coverage", "ws/x.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    command = [sys.executable, "-m", "nox", "-f", str(tmp_path / "noxfile.py"), "-s", "clean"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {name for name in left if not name.startswith(".nox")} == {"noxfile.py", "ws/x.py"}

"""The same crowds against other libraries, and docs/crowds.md, which shows what others waited."""

from __future__ import annotations

import json
import platform
import sys
import tempfile
import textwrap
import time
from pathlib import Path

from bench.measure import node
from bench.peers import PEERS
from tests.attacks.crowds.measure import measure
from tests.attacks.crowds.table import BY_NAME, DEFLATE, MIB
from tests.attacks.figures import Figures, milliseconds, processor
from tests.attacks.honest_clients import PATIENCE_SECONDS
from tests.support import ROOT
from tests.support.certificates import issue_rsa
from tests.support.processes import StartError

COMPARED = (
    "threaded-ws",
    "websockets-sync",
    "websockets-asyncio",
    "aiohttp",
    "npm-ws",
    "picows",
)
CROWDS = (
    "nobody",
    "bombs",
    "heads",
    "unread",
    "computing",
    "sleeping",
    "empties",
    "crumbs",
    "hellos",
)
RESULTS = ROOT / "docs" / "crowds" / "results.json"
TEMPLATE = Path(__file__).with_name("page.md")
NO_COMPRESSION = "no compression"
FAILED = "not measured: it failed"

OURS, OTHERS = ("#d9480f", "#f4b394"), ("#8a9bab", "#cdd6de")
"""Colours up to the median, and from there to the 99th percentile."""
INK, FAINT = "#24292f", "#6e7781"
COLUMNS = 3
PANEL_INCHES = (4.0, 1.95)
TITLE = 46
"""Characters in a line."""
LEAST_MS, MOST_MS = 0.05, 1e6
"""The scale. On its right there is room for figures."""


def command(name, crowd, folder):
    """Return the command that starts a library's server as a crowd needs it, or None."""
    compresses = any(DEFLATE in flood.fields for flood in crowd.floods)
    if compresses and not PEERS[name].compression:
        return None
    limit = crowd.options.get("max_message_size", MIB)
    arguments = ["--verbs", "--max-message-size", str(limit)]
    if crowd.options.get("compression") and PEERS[name].compression:
        arguments.append("--compress")
    if crowd.rsa:
        arguments += ["--tls", *issue_rsa(folder, crowd.rsa)]
    return PEERS[name].command("0", *arguments)


def compare(seconds, crowds, libraries):
    """Measure, and return by crowd and library the figures, or a sentence that says why not."""
    found = {}
    for crowd in (BY_NAME[name] for name in crowds):
        found[crowd.name] = {}
        for name in libraries:
            print(f"{crowd.name}: {name} ...", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as folder:
                start = command(name, crowd, folder)
                try:
                    figures = measure(crowd, seconds, start) if start else NO_COMPRESSION
                except (AssertionError, OSError, StartError) as error:
                    print(error, file=sys.stderr)
                    figures = FAILED
            found[crowd.name][name] = figures
    return found


def measured(seconds, crowds, libraries):
    """Measure, and return the results: the figures, and what they hold for."""
    for name in libraries:
        if PEERS[name].missing:
            sys.exit(f"{name}: no {PEERS[name].missing}; see bench/peers")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "seconds": seconds,
        "processor": processor(),
        "python": platform.python_version(),
        "node": node().lstrip("v"),
        "versions": {PEERS[name].label: PEERS[name].version for name in libraries},
        "found": compare(seconds, crowds, libraries),
    }


def write(results, docs):
    """Write crowds.md into a folder, and its chart and the results into crowds/ there."""
    folder = docs / "crowds"
    folder.mkdir(exist_ok=True)
    (folder / RESULTS.name).write_text(json.dumps(results, indent=1, default=Figures.pack) + "\n")
    draw(results["found"], folder / "waiting.svg")
    tables = "\n".join(table(name, each) for name, each in results["found"].items())
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    facts = {**results, "versions": versions, "tables": tables, "patience": PATIENCE_SECONDS}
    page = TEMPLATE.read_text(encoding="utf-8").format(**facts)
    (docs / "crowds.md").write_text(page, encoding="utf-8")


def read():
    """Return the published results."""
    results = json.loads(RESULTS.read_text())
    for each in results["found"].values():
        for name, figures in each.items():
            each[name] = figures if isinstance(figures, str) else Figures.unpack(figures)
    return results


def heading(crowd):
    """Return what a crowd is, with the number of its connections."""
    if crowd.connections < 2:
        return crowd.title
    return f"{crowd.connections} × {crowd.title[0].lower()}{crowd.title[1:]}"


def table(name, found):
    """Return the heading and the table of a crowd."""
    rows = [
        f"## {heading(BY_NAME[name])}",
        "",
        "| Library | p50 | p99 | max | Server CPU | Memory | |",
        "| :--- | ---: | ---: | ---: | ---: | ---: | :--- |",
    ]
    for peer, figures in found.items():
        if isinstance(figures, str):
            rows.append(f"| {PEERS[peer].title} | | | | | | {figures} |")
            continue
        cells = (
            PEERS[peer].title,
            *map(milliseconds, (figures.others.p50, figures.others.p99, figures.others.max)),
            f"{figures.cpu:.1f} of {figures.seconds:.1f} s",
            f"{figures.memory:+.0f} MiB",
            ", ".join(figures.faults),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([*rows, ""])


def draw(found, path):
    """Draw what honest clients wait for: a panel for each crowd, a bar for each library."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams.update({"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "crowds"})
    rows = -(-len(found) // COLUMNS)
    figure, grid = plt.subplots(
        rows, COLUMNS, figsize=(PANEL_INCHES[0] * COLUMNS, PANEL_INCHES[1] * rows), squeeze=False
    )
    for axes in grid.flat:
        axes.set_visible(False)
    for axes, (name, each) in zip(grid.flat, found.items()):
        axes.set_visible(True)
        panel(axes, BY_NAME[name], each)
    figure.suptitle(
        "What honest clients wait for: p50, p99 and max", x=0.01, ha="left", size=12, weight="bold"
    )
    figure.tight_layout(rect=(0, 0, 1, 0.98), w_pad=1.5)
    for axes in grid.flat[: len(found)]:  # titles begin above the names
        left = min(label.get_window_extent().x0 for label in axes.get_yticklabels())
        x, _ = axes.transAxes.inverted().transform((left, 0))
        title = axes.get_title("left")
        axes.set_title(title, loc="left", x=x, size=9, weight="bold", color=INK)
    figure.savefig(path, facecolor="white", metadata={"Date": None, "Creator": None})
    plt.close(figure)


def panel(axes, crowd, found):
    """Draw one crowd's bars, on a logarithmic scale."""
    for at, (name, figures) in enumerate(found.items()):
        ours = name == COMPARED[0]
        weight = "bold" if ours else "normal"
        if isinstance(figures, str):
            axes.text(LEAST_MS * 1.2, at, figures, va="center", size=8, color=FAINT)
            continue
        others = figures.others
        p50, p99, most = (max(value, LEAST_MS) for value in (others.p50, others.p99, others.max))
        colours = OURS if ours else OTHERS
        axes.barh(at, p99, color=colours[1], height=0.7)
        axes.barh(at, p50, color=colours[0], height=0.7)
        axes.plot([p99, most], [at, at], color=INK, linewidth=0.8)
        text = milliseconds(others.p99) + (" · some lost" if figures.others.lost else "")
        axes.annotate(
            text, (most, at), (4, 0), textcoords="offset points", va="center", size=8, weight=weight
        )
    axes.set_yticks(range(len(found)), [PEERS[name].title for name in found])
    for label, name in zip(axes.get_yticklabels(), found):
        label.set_weight("bold" if name == COMPARED[0] else "normal")
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.set_xlim(LEAST_MS, MOST_MS)
    axes.set_xticks([1, 10, 100, 1000, 10_000], ["1 ms", "10", "100", "1 s", "10 s"])
    axes.minorticks_off()
    axes.grid(axis="x", color="#eaeef2")
    axes.set_axisbelow(True)
    axes.tick_params(left=False, bottom=False, colors=INK)
    axes.spines[["top", "right", "bottom", "left"]].set_visible(False)
    title = textwrap.fill(heading(crowd), TITLE)
    axes.set_title(title, loc="left", size=9, weight="bold", color=INK)

"""The charts of docs/performance.md."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

from bench.cells import (
    BARE,
    BY_NAME,
    BYSTANDER_P99,
    CALLBACKS,
    CPU,
    FAST,
    OURS,
    OWN,
    RATE,
    THREADS,
    Metric,
)
from bench.figures import number, ranked
from bench.peers import PEERS
from bench.results import Results

OUR_COLOUR, FAST_COLOUR, OTHERS, REFERENCE = "#d9480f", "#f08c5a", "#a9b8c6", "#e3e8ed"
INK, FAINT = "#24292f", "#6e7781"
COLOURS = {OURS: OUR_COLOUR, FAST: FAST_COLOUR, CALLBACKS: FAST_COLOUR, BARE: REFERENCE}
LINES = {
    OURS: OUR_COLOUR,
    FAST: FAST_COLOUR,
    "picows": "#1f6feb",
    "websockets-uvloop": "#2da44e",
    "websockets-sync": "#8250df",
    "npm-ws": "#57606a",
}
BAR_INCHES, PANEL_INCHES, FRAME_INCHES = 0.26, 3.9, 1.15


@dataclass(frozen=True)
class Panel:
    """Bars for one figure of one cell.

    Args:
        cell: Its name.
        title: By default the cell's.
        metric: The figure; by default the cell's.
        beside: A figure that is written after each bar.
        log: A logarithmic scale.
    """

    cell: str
    title: str = ""
    metric: Metric | None = None
    beside: Metric | None = None
    log: bool = False


@dataclass(frozen=True)
class Chart:
    """One picture, of several panels."""

    name: str
    title: str
    text: str
    panels: tuple[Panel, ...]
    columns: int = 2


CHARTS = (
    Chart(
        "small",
        "One message in flight",
        "Each client waits for the reply before it sends the next message: this shows the cost of"
        " one message's way through the server. With a single client, the time is mostly that of"
        " the operating system's scheduler.",
        (
            Panel("echo-16x1-32", "16 clients, 32 B: messages/s", RATE, CPU),
            Panel("echo-256x1-32", "256 clients, 32 B: messages/s", RATE, CPU),
            Panel("latency-1x1-32", "1 client: median latency, µs"),
            Panel(
                "latency-1x1-32",
                "1 client: 99 % are answered within, µs",
                BY_NAME["latency-1x1-32"].also[0],
            ),
        ),
    ),
    Chart(
        "pipelined",
        "Many messages in flight",
        "Clients that don't wait for replies. Servers may send several replies together.",
        (
            Panel("pipelined-16x64-32", "16 clients, 64 × 32 B in flight: messages/s", RATE, CPU),
            Panel("pipelined-16x8-1k", "16 clients, 8 × 1 KiB in flight: messages/s", RATE, CPU),
        ),
    ),
    Chart(
        "large",
        "Large messages",
        "The cost is that of the bytes: unmasking, checking that text is UTF-8, and copying.",
        (
            Panel("large-4x4-64k", "4 clients, 4 × 64 KiB in flight, text: messages/s", RATE, CPU),
            Panel("large-4x2-1m", "4 clients, 2 × 1 MiB in flight, text: messages/s", RATE, CPU),
            Panel("large-4x4-64k-binary", "64 KiB, binary: messages/s", RATE, CPU),
            Panel("large-4x2-1m-binary", "1 MiB, binary: messages/s", RATE, CPU),
        ),
    ),
    Chart(
        "broadcast",
        "Broadcast",
        "One client's message goes to all; it sends the next when all have received it.",
        (
            Panel("broadcast-100x1-64", "64 B to 100, 1 in flight: deliveries/s", None, CPU),
            Panel("broadcast-100x16-64", "64 B to 100, 16 in flight: deliveries/s", None, CPU),
            Panel("broadcast-1000x1-4096", "4 KiB to 1,000, 1 in flight: deliveries/s", None, CPU),
            Panel("broadcast-1000x16-64", "64 B to 1,000, 16 in flight: deliveries/s", None, CPU),
            Panel(
                "broadcast-100x1-64-deaf", "64 B to 100, 1 in flight, one never reads", None, CPU
            ),
            Panel(
                "broadcast-1000x16-4096-deaf",
                "4 KiB to 1,000, 16 in flight, one never reads",
                None,
                CPU,
            ),
        ),
    ),
    Chart(
        "tls",
        "TLS and compression",
        "Compression as each library does it by default, of varied JSON that shrinks to a third.",
        (
            Panel("tls-16x1-32", "TLS, 16 × 1 × 32 B: messages/s", RATE, CPU),
            Panel("tls-4x4-64k", "TLS, 4 × 4 × 64 KiB: messages/s", RATE, CPU),
            Panel("compressed-16x8-1k", "Compressed, 16 × 8 × 1 KiB: messages/s", RATE, CPU),
            Panel("compressed-4x4-64k", "Compressed, 4 × 4 × 64 KiB: messages/s", RATE, CPU),
        ),
    ),
    Chart(
        "connections",
        "Connections",
        "Connecting, the opening handshake and the closing handshake: four connections at a time.",
        (
            Panel("connect-plain", "Plain: connections/s", None, CPU),
            Panel("connect-tls", "TLS: connections/s", None, CPU),
        ),
    ),
    Chart(
        "idle",
        "Idle clients",
        "Resident memory that each of 5,000 clients adds, after 2 KiB each way, and CPU time spent"
        " on 1,000 of them while nothing happens, keepalive included where the library has it by"
        " default.",
        (
            Panel("memory-plain", "Plain: KiB per client", None, THREADS),
            Panel("memory-tls", "TLS: KiB per client", None, THREADS),
            Panel("memory-compressed", "Compressed: KiB per client", None, THREADS),
            Panel("idle", "1,000 idle clients: % of a core"),
        ),
    ),
    Chart(
        "blocking",
        "Callbacks that block",
        "Fifty clients, each of whose messages blocks for 0.2 s, as a query does, and one that only"
        " wants an echo.",
        (
            Panel("blocking-rate", "Callbacks/s; 250 is all there is"),
            Panel(
                "blocking-rate",
                "The bystander: 99 % answered within, µs (log)",
                BYSTANDER_P99,
                log=True,
            ),
        ),
    ),
)
CLIENTS = (
    Chart(
        "client-small",
        "Small messages",
        "Left, the client sends a message, waits for the reply, and sends the next: the time is"
        " from one message's arrival at the server to that of the next. Right, it receives messages"
        " as fast as it can.",
        (
            Panel("client-echo-32", "One at a time, 32 B: median, µs", None, CPU),
            Panel("client-stream-32", "A stream of 32 B: messages/s", None, CPU),
        ),
    ),
    Chart(
        "client-large",
        "Large messages",
        "One message at a time. The cost is that of the bytes: masking what is sent, checking that"
        " what comes is UTF-8, and copying.",
        (
            Panel("client-echo-64k", "64 KiB, text: messages/s", None, CPU),
            Panel("client-echo-1m", "1 MiB, text: messages/s", None, CPU),
            Panel("client-echo-64k-binary", "64 KiB, binary: messages/s", None, CPU),
            Panel("client-echo-1m-binary", "1 MiB, binary: messages/s", None, CPU),
        ),
    ),
    Chart(
        "client-connections",
        "Connections",
        "Left, connections that are opened and closed, one after another. Right, resident memory"
        " that each of 1,000 clients in one process adds, after 2 KiB each way.",
        (
            Panel("client-connect", "Connections/s", None, CPU),
            Panel("client-memory-1000", "1,000 clients: KiB per client", None, THREADS),
        ),
    ),
)
SCALING = Chart(
    "scaling",
    "More clients, longer messages",
    "What a message costs should not depend on how many clients there are, and grow with its size,"
    " no faster.",
    (
        Panel("clients", "CPU per message, by connected clients"),
        Panel("sizes", "CPU per message, by size"),
    ),
)


def draw(results: Results, folder: Path) -> list[tuple[str, str, str]]:
    """Write the charts as SVG; return name, title and text of each."""
    mpl.rcParams.update(
        {
            "font.family": "sans-serif",
            "font.size": 9,
            "svg.fonttype": "none",
            "svg.hashsalt": "bench",
            "text.color": INK,
            "axes.edgecolor": FAINT,
            "axes.labelcolor": INK,
            "xtick.color": FAINT,
            "ytick.color": INK,
        }
    )
    drawn = []
    for chart in (*CHARTS, *CLIENTS):
        panels = [panel for panel in chart.panels if _peers(results, panel.cell)]
        if panels:
            _bars(results, chart, panels, folder)
            drawn.append((chart.name, chart.title, chart.text))
    if any(_curves(results, panel.cell) for panel in SCALING.panels):
        _lines(results, SCALING, folder)
        drawn.append((SCALING.name, SCALING.title, SCALING.text))
    return drawn


def _peers(results: Results, cell: str) -> dict[str, Any]:
    found: dict[str, Any] = results["cells"].get(cell, {}).get("peers", {})
    return found


def _bars(results: Results, chart: Chart, panels: list[Panel], folder: Path) -> None:
    rows = -(-len(panels) // chart.columns)
    most = max(len(_peers(results, panel.cell)) for panel in panels)
    height = rows * (most * BAR_INCHES + 0.55) + FRAME_INCHES
    figure, grid = plt.subplots(
        rows, chart.columns, figsize=(PANEL_INCHES * chart.columns, height), squeeze=False
    )
    for axes in grid.flat:
        axes.set_visible(False)
    for axes, panel in zip(grid.flat, panels):
        axes.set_visible(True)
        _panel(axes, results, panel, most)
    _lay_out(figure, results, chart, height)
    for axes in grid.flat[: len(panels)]:  # titles begin above the names
        left = min(label.get_window_extent().x0 for label in axes.get_yticklabels())
        x, _ = axes.transAxes.inverted().transform((left, 0))
        axes.set_title(axes.get_title("left"), loc="left", x=x, size=9.5, weight="bold")
    _save(figure, chart, folder)


def _panel(axes: Any, results: Results, panel: Panel, rows: int) -> None:
    cell = BY_NAME[panel.cell]
    metric = panel.metric or cell.metric
    found = ranked(results["cells"][panel.cell], metric)
    longest = max(figures[metric.key].high for _, figures in found)
    for row, (name, figures) in enumerate(found):
        value = figures[metric.key]
        colour = COLOURS.get(name, OTHERS)
        axes.barh(row, value.median, color=colour, height=0.72)
        if value.high > value.low:
            axes.plot([value.low, value.high], [row, row], color=INK, linewidth=0.8)
        text = number(value.median)
        if panel.beside and panel.beside.key in figures:
            unit = " µs" if panel.beside == CPU else f" {panel.beside.unit}"
            text += f"  · {number(figures[panel.beside.key].median)}{unit}"
        weight = "bold" if name in OWN else "normal"
        place = max(value.median, value.high)
        axes.annotate(
            text,
            (place, row),
            (4, 0),
            textcoords="offset points",
            va="center",
            weight=weight,
            size=8,
        )
    axes.set_yticks(range(len(found)), [PEERS[name].title for name, _ in found])
    for label, (name, _) in zip(axes.get_yticklabels(), found):
        label.set_weight("bold" if name in OWN else "normal")
    axes.set_ylim(rows - 0.4, -0.6)
    if panel.log:
        axes.set_xscale("log")
        axes.set_xlim(right=longest * 20)
    else:
        axes.set_xlim(0, longest * 1.75 or 1)
    title = axes.set_title(panel.title or cell.title, loc="left", size=9.5, weight="bold")
    title.set_in_layout(False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(left=False, bottom=False, labelbottom=False)
    axes.minorticks_off()


def _curves(results: Results, group: str) -> dict[str, list[tuple[int, float]]]:
    curves: dict[str, list[tuple[int, float]]] = {}
    for name in results["cells"]:
        cell = BY_NAME[name]
        if cell.group == group:
            for peer, figures in _peers(results, name).items():
                x = cell.clients if group == "clients" else cell.size
                curves.setdefault(peer, []).append((x, figures["cpu_us"].median))
    return curves


def _lines(results: Results, chart: Chart, folder: Path) -> None:
    height = 4.4
    figure, (grid,) = plt.subplots(
        1, 2, figsize=(PANEL_INCHES * chart.columns, height), squeeze=False
    )
    for axes, panel in zip(grid, chart.panels):
        for name, points in _curves(results, panel.cell).items():
            style = {"color": LINES[name], "label": PEERS[name].title, "markersize": 3}
            axes.plot(*zip(*sorted(points)), "o-", **style)
        axes.set_xscale("log")
        if panel.cell == "sizes":
            axes.set_yscale("log")
            axes.set_xticks(
                [1 << 10, 1 << 15, 1 << 20, 1 << 24], ["1 KiB", "32 KiB", "1 MiB", "16 MiB"]
            )
        else:
            axes.set_xticks([16, 256, 1000, 5000], ["16", "256", "1,000", "5,000"])
            axes.set_ylim(bottom=0)
        axes.minorticks_off()
        axes.set_ylabel("µs")
        axes.set_title(panel.title, loc="left", size=9.5, weight="bold")
        axes.grid(color="#eaeef2")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8)
    _lay_out(figure, results, chart, height)
    _save(figure, chart, folder)


def _lay_out(figure: Any, results: Results, chart: Chart, height: float) -> None:
    figure.suptitle(chart.title, x=0.02, ha="left", size=13, weight="bold")
    versions = {f"{PEERS[name].label} {at}": None for name, at in results["versions"].items()}
    where = f"{results['cores']} cores of {results['cpu']}"
    about = f"{results['date']} · {where} · Python {results['python']}"
    if any(PEERS[name].in_node for name in results["versions"]):
        about += f" · Node.js {results['node'].lstrip('v')}"
    if CPU in [panel.beside for panel in chart.panels]:
        about += " · bar: median; line: worst to best round; µs: CPU per message"
    figure.text(0.02, 0.24 / height, about, size=7, color=FAINT)
    figure.text(0.02, 0.08 / height, " · ".join(versions), size=7, color=FAINT)
    figure.tight_layout(rect=(0, 0.42 / height, 1, 1 - 0.1 / height), w_pad=2)


def _save(figure: Any, chart: Chart, folder: Path) -> None:
    figure.savefig(
        folder / f"{chart.name}.svg", facecolor="white", metadata={"Date": None, "Creator": None}
    )
    plt.close(figure)

"""The page docs/performance.md, and the same figures as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterable, Iterator

from bench.cells import BY_NAME, CELLS, CPU, Cell
from bench.figures import number, ranked, spread
from bench.peers import PEERS, SLEEPERS
from bench.results import Results
from bench.targets import TARGETS

TEMPLATE = Path(__file__).with_name("page.md")
NEAR = 0.8
"""Above this part of the highest rate there can be, a peer may be faster than can be shown."""

GROUPS = {
    "latency": "One client, one message in flight",
    "echo": "One message in flight",
    "pipelined": "Many messages in flight",
    "large": "Large messages",
    "broadcast": "Broadcast",
    "tls": "TLS",
    "compressed": "Compression",
    "connect": "Connections",
    "blocking": "Callbacks that block",
    "clients": "With the number of clients",
    "sizes": "With the size of messages",
    "memory": "Memory and threads",
    "idle": "Idle",
    "client-echo": "One message at a time",
    "client-stream": "A stream of small messages",
    "client-large": "Large messages",
    "client-connect": "Connections",
    "client-memory": "Memory and threads",
}


def write(sides: dict[str, Results], folder: Path) -> None:
    """Write performance.md into a folder, and its charts into performance/ there.

    Args:
        sides: What was measured of each of `bench.cells.SIDES`.
        folder: Where the page goes.
    """
    from bench import charts  # noqa: PLC0415 - only this needs Matplotlib, and a second to load it

    pictures = folder / "performance"
    pictures.mkdir(parents=True, exist_ok=True)
    drawn = {side: charts.draw(results, pictures) for side, results in sides.items()}
    names = [name for charts_of_side in drawn.values() for name, *_ in charts_of_side]
    for path in pictures.glob("*.svg"):
        if path.stem not in names:
            path.unlink()
    facts = {side: _facts(results, drawn[side]) for side, results in sides.items()}
    page = TEMPLATE.read_text().format(sleepers=SLEEPERS, **facts)
    (folder / "performance.md").write_text(page.replace(" \n", "\n"))


def _facts(results: Results, drawn: list[tuple[str, str, str]]) -> dict[str, object]:
    """Return what the page says about one side, by name."""
    pictures = [
        f"{title}\n\n{text}\n\n![{title}](performance/{name}.svg)\n" for name, title, text in drawn
    ]
    cells = [cell for cell in CELLS if cell.name in results["cells"]]
    rounds = [cell for cell in cells if cell.rounds > 1]
    near, ceilings = _ceilings(results, cells)
    return {
        "date": results["date"],
        "machine": f"{results['cores']} cores of {results['cpu']}, {results['system']}",
        "python": results["python"],
        "others": _others(results),
        "peers": _versions(results),
        "minutes": round(results["seconds"] / 60),
        "charts": "\n".join(f"### {picture}" for picture in pictures),
        "targets": _targets(results),
        "seconds": min((cell.seconds for cell in rounds), default=0),
        "rounds": max((cell.rounds for cell in rounds), default=0),
        "near": near,
        "ceilings": ceilings,
        "figures": "\n".join(_figures(results, cells)),
    }


def _others(results: Results) -> str:
    """Say how busy other programs kept the machine, if that was measured."""
    if "others" not in results:
        return ""
    return f"Meanwhile, other programs used {results['others']:.0%} of the machine's CPU time."


def _versions(results: Results) -> str:
    versions = {f"{PEERS[name].label} {at}": None for name, at in results["versions"].items()}
    in_node = any(PEERS[name].in_node for name in results["versions"])
    node = [f"Node.js {results['node'].lstrip('v')}"] * in_node
    return ", ".join([*versions, *node])


def _ceilings(results: Results, cells: Iterable[Cell]) -> tuple[str, str]:
    near, rows = [], []
    for cell in cells:
        found = results["cells"][cell.name]
        if "ceiling" not in found or not found["peers"]:
            continue
        name, best = max(found["peers"].items(), key=lambda item: item[1]["rate"].median)
        rate, ceiling = best["rate"].median, found["ceiling"]
        title = f"{GROUPS[cell.group]}: {cell.title}"
        share = f"{best['load_share'].median:.0%}"
        rows.append([title, PEERS[name].title, share, number(rate), number(ceiling)])
        if rate > NEAR * ceiling:
            near.append(title)
    said = f"The fastest comes within a fifth of that rate at: {'; '.join(near)}." if near else ""
    head = ["Cell", "Fastest", "CPU of the other end", "messages/s", "at most"]
    return said, markdown(head, rows)


def _targets(results: Results) -> str:
    rows = []
    for target in TARGETS:
        measured = target.measure(results)
        if measured is not None:
            ratios = (_ratio(measured.by_cpu), _ratio(measured.bare), measured.against)
            figures = [f"{measured.value:.2f}{target.unit}", *ratios]
            mark = "yes" if target.holds(measured.value) else "**no**"
            rows.append([target.about, target.asked, *figures, mark])
    return markdown(["", "Aim", "Measured", "By CPU time", "No checks", "Against", "Reached"], rows)


def _ratio(value: float | None) -> str:
    return f"{value:.2f} ×" if value else ""


def _figures(results: Results, cells: list[Cell]) -> Iterator[str]:
    for group, title in GROUPS.items():
        body = [_cell(cell, results["cells"][cell.name]) for cell in cells if cell.group == group]
        if body:
            text = "\n".join(body)
            yield f"<details><summary>{title}</summary>\n\n{text}\n</details>\n"


def _cell(cell: Cell, found: dict[str, Any]) -> str:
    metrics = [cell.metric, *cell.also]
    rows = [
        [
            PEERS[name].title,
            *(spread(figures.get(metric.key), cell.rounds) for metric in metrics),
        ]
        for name, figures in ranked(found, cell.metric)
    ]
    rows += [[PEERS[name].title, error] for name, error in found["errors"].items()]
    head = ["", *(metric.unit for metric in metrics)]
    rows = [row + [""] * (len(head) - len(row)) for row in rows]
    return f"**{cell.title}** (`{cell.name}`)\n\n{markdown(head, rows)}\n"


def markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, [":---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def table(results: Results) -> str:
    """Return the figures as text."""
    lines = []
    for name, found in results["cells"].items():
        cell = BY_NAME[name]
        ceiling = found.get("ceiling")
        limit = f"; at most: {number(ceiling)}" if ceiling else ""
        lines.append(f"\n{name}: {cell.title}, {cell.metric.unit}{limit}")
        for peer, figures in ranked(found, cell.metric):
            line = f"  {peer:22}{spread(figures[cell.metric.key], cell.rounds):32}"
            for metric in cell.also:
                unit = " µs CPU" if metric == CPU else f" {metric.key}"
                line += f"{number(figures[metric.key].median):>9}{unit}"
            if "load_share" in figures:
                line += f"   load {figures['load_share'].median:.0%} of a core"
            lines.append(line)
        lines += [f"  {peer:22}{error}" for peer, error in found["errors"].items()]
    lines += ["", f"{'':46}{'measured':>12}{'by CPU':>9}   aim"]
    for target in TARGETS:
        measured = target.measure(results)
        if measured is not None:
            mark = "   " if target.holds(measured.value) else "NO "
            value = f"{measured.value:.2f}{target.unit:6}"[:12]
            against = f" ({measured.against})" * bool(measured.against)
            lines.append(
                f"{mark}{target.about:43}{value:>12}{_ratio(measured.by_cpu):>9}"
                f"   {target.asked}{against}"
            )
    return "\n".join(lines)

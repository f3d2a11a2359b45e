"""What clients cost a web application: threads, memory, and the latency of pages and messages.

`python -m bench.hosted --picture docs/wsgi.svg` prints the table and draws the picture. Each
application is served by one worker process. The clients are idle but for those that are measured;
they answer no pings, so the servers send none.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import statistics
import time
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Callable, Sequence

from matplotlib import pyplot

from tests.support.heads import request
from tests.support.processes import Program, free_port, listens, module
from tests.support.rawclient import RawClient
from tests.support.waiting import eventually

CLIENTS = (0, 10, 100, 1000)
PAGES = 300
ECHOES = 300
BROADCASTS = 20
PATIENCE_SECONDS = 3.0
"""A page or a handshake that takes longer counts as not served."""


@dataclass(frozen=True)
class Peer:
    """A way to have WebSockets in a web application.

    Args:
        name: As the table has it.
        command: The arguments of `python -m`; {port} is the port.
        colour: In the picture.
    """

    name: str
    command: str
    colour: str


GUNICORN = "gunicorn --bind 127.0.0.1:{port} --no-control-socket --keep-alive 0 "
PEERS = (
    Peer("ours, gunicorn sync", GUNICORN + "bench.hosted.ours", "#d9480f"),
    Peer("ours, gunicorn 4 threads", GUNICORN + "--threads 4 bench.hosted.ours", "#f08c5a"),
    Peer("flask-sock, 4 threads", GUNICORN + "--threads 4 bench.hosted.flask_sock_", "#8250df"),
    Peer("flask-sock, 64 threads", GUNICORN + "--threads 64 bench.hosted.flask_sock_", "#b392f0"),
    Peer(
        "Channels, daphne",
        "daphne -p {port} --ping-interval 3600 bench.hosted.channels_:application",
        "#2da44e",
    ),
    Peer(
        "Channels, uvicorn",
        "uvicorn --port {port} --log-level warning --ws-ping-interval 3600 "
        "bench.hosted.channels_:application",
        "#1f6feb",
    ),
)

Figures = dict[str, float]
TITLES = {
    "threads": "Threads",
    "kib": "Memory a client, KiB",
    "page_p50": "A page, p50, ms",
    "page_p99": "A page, p99, ms",
    "echo_p50": "An echo, p50, ms",
    "broadcast": "To all clients, ms",
}


def processes(pid: int) -> list[int]:
    """Return a process with its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in processes(int(child)))]


def usage(pid: int) -> tuple[int, int]:
    """Return the threads of the worker, and the bytes that are in memory for all together."""
    everyone = processes(pid)
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in everyone)
    return len(os.listdir(f"/proc/{everyone[-1]}/task")), pages * os.sysconf("SC_PAGE_SIZE")


def timed(work: Callable[[], Any], times: int) -> list[float]:
    """Return how long each call took, in ms, in order of length."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - begun))
    return sorted(taken)


def fetch(port: int, body: str | None = None) -> None:
    """Get the page; with a body, have it sent to all clients."""
    http = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    with contextlib.closing(http):
        http.request("GET" if body is None else "POST", "/" if body is None else "/notify", body)
        http.getresponse().read()


def serves(port: int) -> bool:
    """Say whether the page is served: the framework may still be loading."""
    try:
        fetch(port)
    except (OSError, HTTPException):
        return False
    return True


def dial(port: int) -> RawClient:
    """Return a client.

    Raises:
        TimeoutError: The worker has no thread for it.
    """
    client = RawClient(port)
    client.sock.settimeout(PATIENCE_SECONDS)
    client.handshake(request("/ws", f"Origin: http://localhost:{port}", host=f"localhost:{port}"))
    return client


def broadcast(port: int, clients: Sequence[RawClient]) -> None:
    """Have a text sent, and wait until all have got it."""
    poll = select.poll()
    waiting = {client.sock.fileno(): client for client in clients}
    for descriptor in waiting:
        poll.register(descriptor, select.POLLIN)
    fetch(port, "news")
    while waiting:
        for descriptor, _ in poll.poll(1000 * PATIENCE_SECONDS):
            assert waiting.pop(descriptor).recv() == "news"
            poll.unregister(descriptor)


def measure(peer: Peer, say: Callable[[str], None]) -> dict[int, Figures]:
    """Return the figures of a peer by the number of clients, as far as it can serve them."""
    found: dict[int, Figures] = {}
    port = free_port()
    command = module(*peer.command.format(port=port).split())
    with Program(command) as program, contextlib.ExitStack() as stack:
        eventually(lambda: listens(port))
        eventually(lambda: serves(port))
        timed(lambda: fetch(port), 100)
        _, alone = usage(program.pid)
        clients: list[RawClient] = []
        for number in CLIENTS:
            try:
                while len(clients) < number:
                    clients.append(stack.enter_context(dial(port)))
                found[number] = figures(port, program.pid, clients, alone)
            except (OSError, HTTPException, EOFError) as error:
                say(f"{peer.name}: with {len(clients)} of {number} clients: {error!r}")
                break
            say(f"{peer.name}, {number}: {found[number]}")
        with contextlib.suppress(OSError):
            for client in clients:
                client.close()
    return found


def figures(port: int, pid: int, clients: Sequence[RawClient], alone: int) -> Figures:
    """Return the figures with these clients."""
    pages = timed(lambda: fetch(port), PAGES)
    result = {"page_p50": statistics.median(pages), "page_p99": pages[int(0.99 * PAGES)]}
    if clients:
        order = iter(range(ECHOES))

        def echo() -> None:
            client = clients[next(order) % len(clients)]
            client.send("hello")
            client.recv()

        result["echo_p50"] = statistics.median(timed(echo, ECHOES))
        result["broadcast"] = statistics.median(timed(lambda: broadcast(port, clients), BROADCASTS))
    threads, held = usage(pid)
    result["threads"] = threads
    if clients:
        result["kib"] = (held - alone) / 1024 / len(clients)
    return result


def table(results: dict[str, dict[int, Figures]]) -> str:
    """Return the figures as Markdown."""
    lines = ["| Clients | | " + " | ".join(TITLES.values()) + " |"]
    lines.append("| ---: | :--- | " + "---: | " * len(TITLES))
    for number in CLIENTS:
        for name, found in results.items():
            got = found.get(number)
            cells = [
                f"{got[key]:,.4g}" if got and key in got else ("–" if got else "✗")
                for key in TITLES
            ]
            lines.append(f"| {number:,} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(results: dict[str, dict[int, Figures]], path: Path) -> None:
    """Draw the figures; a line ends where a server could serve no more clients."""
    figure, axes = pyplot.subplots(2, 3, figsize=(11, 6), constrained_layout=True)
    for axis, (key, title) in zip(axes.flat, TITLES.items()):
        for peer in PEERS:
            points = [(n, got[key]) for n, got in results[peer.name].items() if n and key in got]
            if points:
                axis.plot(*zip(*points), "o-", color=peer.colour, label=peer.name, markersize=4)
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xticks([n for n in CLIENTS if n], [f"{n:,}" for n in CLIENTS if n])
        axis.grid(alpha=0.3)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    axes.flat[0].legend(fontsize=8, frameon=False)
    figure.supxlabel("Clients (one worker process)", fontsize=9)
    figure.savefig(path)


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser(prog="python -m bench.hosted", description=__doc__)
    parser.add_argument("--picture", type=Path, help="where to draw")
    arguments = parser.parse_args()
    results = {peer.name: measure(peer, lambda line: print(line, flush=True)) for peer in PEERS}
    print(table(results))
    if arguments.picture:
        draw(results, arguments.picture)


if __name__ == "__main__":
    main()

"""Instructions per message, counted by callgrind: ``python -m bench.instructions [CASE...]``.

The same code, data and order each time, in one thread and without a clock: so the counts are the
same to a few in a thousand however busy the machine is. They leave out the kernel, and what a
cache or a branch costs. What reads and writes the same bytes but isn't a server is shown beside.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
CASES = {"32": (1, 32), "64x32": (64, 32), "8x1k": (8, 1 << 10), "64k": (1, 1 << 16)}
"""Messages that are there at once, and bytes of each."""
FEW, MANY = 640, 5120
"""Messages of the two runs; what differs is the cost of the messages alone."""
RECEIVE_SIZE = 1 << 18
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def main() -> None:
    """Print a line for each case."""
    if sys.argv[1:2] == ["--run"]:
        case, count, server = sys.argv[2:]
        run(case, int(count), server == "server")
        return
    valgrind = shutil.which("valgrind")
    if not valgrind:
        sys.exit("valgrind is missing: apt-get install valgrind")
    print(f"{'':10}{'server':>10}{'no server':>11}  instructions per message")
    for case in sys.argv[1:] or CASES:
        counts = [instructions(valgrind, case, what) for what in ("server", "bare")]
        print(f"{case:10}{counts[0]:10,.0f}{counts[1]:11,.0f}")


def instructions(valgrind: str, case: str, what: str) -> float:
    """Return how many a message takes."""
    few, many = (_collected(valgrind, case, count, what) for count in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def _collected(valgrind: str, case: str, count: int, what: str) -> int:
    tool = [valgrind, "--tool=callgrind", f"--callgrind-out-file={os.devnull}"]
    script = [sys.executable, "-S", "-m", "bench.instructions", "--run", case, str(count), what]
    env = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [*tool, *script], cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True, check=False
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        sys.exit(done.stderr)
    return int(found[1])


def run(case: str, count: int, with_server: bool) -> None:
    """Echo so many messages, in this thread alone."""
    from bench.messages import batch  # noqa: PLC0415
    from ws import WSServer  # noqa: PLC0415
    from ws.client import Connection, PlainClient  # noqa: PLC0415
    from ws.loop import READ, Loop  # noqa: PLC0415

    at_once, size = CASES[case]
    frames = batch(size, at_once)
    ours, theirs = socket.socketpair()
    server = WSServer("127.0.0.1", 0)
    server.onmessage(server.send)
    loop = server._loop = Loop(server._run, 1)
    client = PlainClient(ours.family, ours.type, ours.proto, ours.detach())
    client.setblocking(False)
    client._address = ("127.0.0.1", 1)
    connection = Connection(client, loop, server.limits, lambda connection: None)
    loop._lead = lead = []
    loop._set_timers()

    def serve() -> int:
        loop._serve(connection, READ, lead)
        return len(theirs.recv(RECEIVE_SIZE))

    def bounce() -> int:
        client.send(client.recv(RECEIVE_SIZE))
        return len(theirs.recv(RECEIVE_SIZE))

    theirs.send(REQUEST)
    serve()
    theirs.settimeout(0)
    reply = len(frames) - 4 * at_once if with_server else len(frames)
    for _ in range(count // at_once):
        theirs.send(frames)
        got = 0
        while got < reply:
            try:
                got += serve() if with_server else bounce()
            except BlockingIOError:
                pass


if __name__ == "__main__":
    main()

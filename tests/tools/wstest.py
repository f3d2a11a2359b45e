"""What Autobahn's wstest looks like from outside: every case it is asked for is OK at once."""

from __future__ import annotations

import argparse
import json
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ws import WSServer

CLOSE = {"closedByMe": True, "closeCode": [1000], "requireClean": True}
REPORT = {
    "behavior": "OK",
    "behaviorClose": "OK",
    "duration": 3,
    "expected": {"OK": []},
    "expectedClose": CLOSE,
    "received": [],
    "remoteCloseCode": 1000,
    "description": "A case.",
    "result": "",
    "resultClose": "",
}


class Reports:
    """The report of each case that was run, and the index of all."""

    def __init__(self) -> None:
        self.index: dict[str, dict[str, dict[str, str]]] = {}

    def add(self, agent: str, case: str) -> None:
        print(f"Running test case ID {case} for agent {agent}", flush=True)
        path = Path(f"case_{case.replace('.', '_')}.json")
        path.write_text(json.dumps(REPORT))
        path.with_suffix(".html").write_text("<p>A case.")
        entry = {"behavior": "OK", "behaviorClose": "OK", "reportfile": path.name}
        self.index.setdefault(agent, {})[case] = entry

    def write(self) -> None:
        Path("index.json").write_text(json.dumps(self.index))


def fuzz_server(spec: dict[str, Any]) -> None:
    """Say of all cases that the server has passed."""
    (server,) = spec["servers"]
    reports = Reports()
    for case in spec["cases"]:
        reports.add(server["agent"], case)
    reports.write()


def fuzz_clients(spec: dict[str, Any]) -> None:
    """Serve cases, of which those are OK whose client echoes a message."""
    reports = Reports()
    server = WSServer("127.0.0.1", urlsplit(spec["url"]).port or 0)

    @server.onopen
    def begin(client: Any) -> None:
        if client.request.target.startswith("/updateReports"):
            reports.write()
            server.close(client)
        else:
            server.send(client, "echo this")

    @server.onmessage
    def judge(client: Any, message: str | bytes) -> None:
        asked = parse_qs(urlsplit(client.request.target).query)
        if message == "echo this":
            reports.add(asked["agent"][0], asked["casetuple"][0])
        server.close(client)

    server.start()
    threading.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode")
    arguments, _ = parser.parse_known_args()
    spec = json.loads(Path("spec.json").read_text())
    {"fuzzingclient": fuzz_server, "fuzzingserver": fuzz_clients}[arguments.mode](spec)


if __name__ == "__main__":
    main()

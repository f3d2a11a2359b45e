"""What Autobahn's wstest looks like from outside: every case it is asked for is OK at once."""

from __future__ import annotations

import json
from pathlib import Path

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


def main() -> None:
    spec = json.loads(Path("spec.json").read_text())
    (server,) = spec["servers"]
    index = {}
    for case in spec["cases"]:
        print(f"Running test case ID {case} for agent {server['agent']}", flush=True)
        path = Path(f"case_{case.replace('.', '_')}.json")
        path.write_text(json.dumps(REPORT))
        path.with_suffix(".html").write_text("<p>A case.")
        index[case] = {"behavior": "OK", "behaviorClose": "OK", "reportfile": path.name}
    Path("index.json").write_text(json.dumps({server["agent"]: index}))


if __name__ == "__main__":
    main()

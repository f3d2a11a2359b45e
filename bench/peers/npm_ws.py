"""ws for Node.js: the process becomes node, with ``npm_ws.js``."""

from __future__ import annotations

import json
import os
from pathlib import Path

from bench.peers import MAX_MESSAGE_SIZE, SLEEP_SECONDS
from bench.peers.options import Options


def serve(options: Options) -> None:
    settings = {
        "port": options.port,
        "maxPayload": MAX_MESSAGE_SIZE,
        "compress": options.compress,
        "tls": options.tls,
        "mode": options.mode,
        "sleepMilliseconds": SLEEP_SECONDS * 1000,
    }
    script = str(Path(__file__).with_suffix(".js"))
    os.execvp("node", ["node", script, json.dumps(settings)])

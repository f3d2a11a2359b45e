"""ws for Node.js: the process becomes node, with ``npm_ws.js``."""

from __future__ import annotations

import json
import os
from pathlib import Path

from bench.peers.options import Options


def serve(options: Options) -> None:
    settings = {
        "port": options.port,
        "maxPayload": options.max_message_size,
        "compress": options.compress,
        "tls": options.tls,
        "mode": options.mode,
    }
    script = str(Path(__file__).with_suffix(".js"))
    os.execvp("node", ["node", script, json.dumps(settings)])

"""ws for Node.js: the process becomes node, with ``npm_ws.js``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from bench.clients.options import Options
from bench.peers import NODE_MODULES


def run(options: Options) -> None:
    if not options.agent:
        sys.exit("only cases, no load")
    settings = {
        "urls": options.case_urls,
        "maxPayload": options.max_message_size,
        "compress": options.compress,
    }
    script = str(Path(__file__).with_suffix(".js"))
    env = {**os.environ, "NODE_PATH": str(NODE_MODULES)}
    os.execvpe("node", ["node", script, json.dumps(settings)], env)

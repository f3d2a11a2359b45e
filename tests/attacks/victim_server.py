"""The server under attack, a program of its own: `python -m tests.attacks.victim_server OPTIONS`.

OPTIONS are those of `WSServer` in JSON, and two limits on descriptors: "ulimit" holds before the
server starts, and "nofile" afterwards. It prints its port, and then takes lines of JSON on its
standard input, each a string of Python to run, and answers with a line of JSON about itself. At the
end of the input it shuts down.
"""

from __future__ import annotations

import ctypes
import json
import logging
import sys
import time

import ws.engine.workers
from ws import Response, WSServer

ws.engine.workers.FOLLOWER_SECONDS = 0.1  # so that threads end soon after the attack
PAGE = Response(200, "x" * (8 << 20))  # more than the system keeps for a connection
malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: None)  # glibc's


class Log(logging.Handler):
    """Counts records by level, and notes the first few as they would be written."""

    def __init__(self):
        super().__init__()
        self.counts = {}
        self.lines = []
        self.setFormatter(logging.Formatter("%(levelname)s %(message)s"))

    def emit(self, record):
        self.counts[record.levelname] = self.counts.get(record.levelname, 0) + 1
        line = self.format(record).splitlines()
        if len(self.lines) < 100:
            self.lines.append("\n".join(line if not record.exc_info else line[:1]))


log = Log()
logging.getLogger("ws").addHandler(log)
logging.getLogger("ws").setLevel(logging.INFO)

options = {"host": "127.0.0.1", "port": 0, **json.loads(sys.argv[1])}
nofile, ulimit = options.pop("nofile", None), options.pop("ulimit", None)
if ulimit:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (ulimit, ulimit))
server = WSServer(**options)
counts = dict.fromkeys(("opened", "closed", "closed_again", "overlaps"), 0)


@server.onrequest
def onrequest(request):
    if request.path == "/slow":
        time.sleep(0.2)
    if request.path == "/page":
        return PAGE
    if request.path.startswith("/header/"):
        return Response(200, "", {"X-Path": request.path})
    if request.path.startswith("/type/"):
        return Response(200, "", content_type=request.path)
    return None


@server.onopen
def onopen(client):
    counts["opened"] += 1
    server.join(client, client.request.path)


@server.onmessage
def onmessage(client, message):
    verb, _, rest = message.partition(":") if isinstance(message, str) else ("", "", "")
    if verb == "sleep":
        time.sleep(float(rest))
    elif verb == "raise":
        raise ValueError(rest)
    elif verb == "room":
        server.sendall(message, to=client.request.path)
        return
    elif verb == "all":
        server.sendall(message)
        return
    elif verb == "close":
        server.close(client, 1000)
    elif verb == "big":
        message = "x" * int(rest)
    elif verb == "open":
        with open(__file__, encoding="utf-8") as file:
            message = file.readline().strip()
    elif verb == "length":
        message = str(len(message))
    server.send(client, message)


@server.onclose
def onclose(client):
    counts["closed"] += 1
    counts["closed_again"] += "closed" in client.data
    client.data["closed"] = True


def report():
    stats = server.stats()
    return {
        "noted": globals().get("noted"),
        **counts,
        "connections": stats["active_connections"],
        "accepted": stats["connections"],
        "bytes_in": stats["bytes_in"],
        "clients": len(server.clients),
        "queued": stats["queued"],
        **{name: value for name, value in stats.items() if name.startswith("memory")},
        "messages_in": stats.get("messages_in", 0),
        "memory_cuts": stats.get("memory_cuts", 0),
        "log": log.counts,
        "lines": log.lines,
    }


server.start()
if nofile:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile))
print(server.port, flush=True)
for line in sys.stdin:
    exec(json.loads(line))
    print(json.dumps(report()), flush=True)
server.shutdown(1)

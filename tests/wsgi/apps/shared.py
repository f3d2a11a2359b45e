"""What the three applications have in common: the WebSocket server, the state of the process."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any

from tests.wsgi.apps import worker
from ws import Response, WSServer

COOKIE = {"Set-Cookie": "seen=yes; Path=/"}

logging.basicConfig(level=logging.WARNING)
if threading.current_thread() is threading.main_thread():
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # the tests may run in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)


def make_server() -> WSServer:
    """Return a server with the options in the environment, as JSON."""
    options: dict[str, Any] = json.loads(os.environ.get("PUSH", "{}"))
    redis = options.pop("redis", None)
    if redis:
        from ws.redis import RedisBackplane

        options["backplane"] = RedisBackplane(redis)
    server = WSServer(port=None, compression=True, **options)

    @server.onmessage
    def answer(client: Any, message: Any) -> None:
        if message == "who":
            server.send(client, str(client.data.get("user")))
        elif message == "where":
            server.send(client, json.dumps([client.getpeername()[0], os.getpid()]))
        else:
            server.send(client, message)

    @server.onrequest
    def health(request: Any) -> Response | None:
        return Response(200, "fine\n") if request.query.get("health") else None

    return server


def state() -> dict[str, Any]:
    """Return what the process has now."""
    proc = Path("/proc/self")
    resident = proc / "statm"
    return {
        "pid": os.getpid(),
        "threads": len(list((proc / "task").iterdir())) if resident.exists() else None,
        "descriptors": len(list((proc / "fd").iterdir())) if resident.exists() else None,
        "pages": int(resident.read_text().split()[1]) if resident.exists() else None,
        "python_threads": sorted(thread.name for thread in threading.enumerate()),
        "clients": len(push.clients),
        "connections": push.stats()["active_connections"],
        "presence": push.presence(),
        "worker_connections": worker.counts(),
    }


push = make_server()

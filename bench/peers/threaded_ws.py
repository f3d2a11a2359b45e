"""Ours: ``threaded-ws`` in pure Python, ``threaded-ws-fast`` with the extra ``fast``."""

from __future__ import annotations

import sys
import threading
from typing import Any

from bench.peers import SLEEPERS
from bench.peers.options import Options

EXTRAS = ("numpy", "zlib_ng", "isal")
"""Packages that ``ws`` uses if they are installed."""


def use_extras(wanted: bool) -> None:
    """Unless they are wanted, have the imports of the extras fail in this process."""
    if not wanted:
        hidden: dict[str, Any] = dict.fromkeys(EXTRAS)
        sys.modules.update(hidden)


def serve(options: Options) -> None:
    use_extras(options.peer.name.endswith("-fast"))
    from ws import WSServer  # noqa: PLC0415

    limits: dict[str, Any] = {
        "max_message_size": options.max_message_size,
        "max_queue_size": options.max_message_size,
        "max_fragments": 1 << 18,
        "max_clients_per_address": 10_000,
        "threads": SLEEPERS,
    }
    if not options.ping:
        limits["ping_interval"] = None
    server = WSServer(
        "127.0.0.1",
        options.port,
        ssl_context=options.context,
        compression=options.compress,
        **limits,
    )
    if options.broadcast:
        server.onmessage(lambda client, message: server.sendall(message))
    elif options.mode == "verbs":
        server.onmessage(lambda client, message: server.send(client, options.reply(message)))
    else:
        server.onmessage(server.send)

    server.start()
    options.ready(server.port)
    threading.Event().wait()

"""Ours, blocking: ``threaded-ws`` in pure Python, ``threaded-ws-fast`` with the extra ``fast``."""

from __future__ import annotations

from typing import Any

from bench.clients import blocking
from bench.clients.options import Options
from bench.peers.threaded_ws import use_extras


def settings(options: Options) -> dict[str, Any]:
    """Return the options of a WSClient."""
    found: dict[str, Any] = {
        "compression": options.compress,
        "max_message_size": options.max_message_size,
        "max_queue_size": options.max_message_size,
        "max_fragments": 1 << 18,
    }
    if not options.ping:
        found["ping_interval"] = None
    return found


def run(options: Options) -> None:
    use_extras(options.peer.name.endswith("-fast"))
    from ws import WSClient  # noqa: PLC0415

    def connect(url: str) -> blocking.Connection:
        client = WSClient(url, **settings(options)).start()
        return blocking.Connection(client.send, client.recv, client.close)

    blocking.run(options, connect)

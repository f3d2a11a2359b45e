"""Counters of a server: totals since the start, and what there is now."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from .admission import Admission
from .engine.connection import Connection
from .engine.sockets import Client


class Metrics:
    """Totals of all connections since the start. Any thread may call any method.

    Args:
        admission: Has the active connections.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.lock: Any = threading.RLock()
        """Held while a connection changes from active to ended, so that it is counted once.
        Reentrant: `Lifecycle.wait` has to know whether the calling thread holds it."""
        self._ended: Counter[str] = Counter()  # the counters of connections that have ended

    def ended(self, connection: Connection) -> None:
        """Add the counters of an ended connection to the totals, and stop counting it as active."""
        with self.lock:
            self._ended.update(_counters(connection))
            self._admission.leave(connection)

    def snapshot(self, clients: dict[Client, Connection], threads: int) -> dict[str, Any]:
        """Return what `WSServer.stats` returns.

        Args:
            clients: The clients with their connections.
            threads: How many threads there are.
        """
        with self.lock:
            totals = Counter(self._ended)
            connections = self._admission.connections
        overload = self._admission.overload
        queued = 0
        for connection in connections:
            queued += connection.outbox.queued
            totals.update(_counters(connection))
        details = [
            {
                "address": client.getpeername(),
                "queued": connection.outbox.queued,
                "memory": overload.budget.weight(connection),
                "latency": client.latency,
                **_counters(connection),
            }
            for client, connection in clients.items()
        ]
        return {
            "connections": self._admission.accepted,
            "active_connections": len(connections),
            "bytes_in": totals["bytes_in"],
            "bytes_out": totals["bytes_out"],
            "messages_in": totals["messages_in"],
            "messages_out": totals["messages_out"],
            "queued": queued,
            "memory": overload.budget.total,
            "max_memory": overload.budget.limit,
            "memory_refusals": overload.refusals,
            "memory_pauses": overload.pauses,
            "memory_cuts": overload.cuts,
            "threads": threads,
            "clients": details,
        }


def _counters(connection: Connection) -> dict[str, int]:
    return {
        "bytes_in": connection.bytes_in,
        "bytes_out": connection.outbox.bytes_out,
        "messages_in": connection.messages_in,
        "messages_out": connection.outbox.messages_out,
    }

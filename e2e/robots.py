"""Robots: programs that chat without a page, and send and get lines of text."""

from __future__ import annotations

from typing import Iterator
from urllib.parse import urlencode

from e2e.server import Server
from tests.support.client import Client

BURST = 15
"""Lines that the server takes at once from one client."""


def tell(server: Server, texts: list[str], name: str = "Robot", room: str = "lobby") -> None:
    """Say lines; a connection says as many as the server takes at once from one client."""
    query = urlencode({"room": room, "name": name})
    for burst in _bursts(texts):
        with Client(server.port, f"/?{query}", host="localhost") as robot:
            for text in burst:
                robot.send(text)
            while robot.recv() != f"{name}: {burst[-1]}":
                pass


def _bursts(texts: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(texts), BURST):
        yield texts[start : start + BURST]

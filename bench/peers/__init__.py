"""The libraries, ours included, and the same minimal echo server on each.

``python -m bench.peers NAME [PORT]`` prints its URL once it serves, and ends when its standard
input does. Text is echoed as text, binary as binary. Messages of up to 64 MiB are accepted, unless
an option says otherwise; all other settings are the library's defaults.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

MAX_MESSAGE_SIZE = 64 << 20
"""Bytes, by default."""
SLEEPERS = 64
"""Threads for blocking calls, in servers that run on an event loop: as many as ours has."""
MODES = {
    "echo": "a message goes back to its sender",
    "broadcast": "a message goes to all clients",
    "verbs": "a message may ask for something, as to sleep: see tests/support/verbs.py",
}
FOLDER = Path(__file__).parent
NODE_MODULES = FOLDER / "node_modules"


@dataclass(frozen=True)
class Peer:
    """A library, or a way to use one.

    Args:
        name: As ``python -m bench.peers`` and ``bench.clients`` take it.
        title: As tables have it.
        distribution: Its name on PyPI or npm; empty for ours.
        module: The module of this package whose ``serve(options)`` is an echo server until the
            process ends; empty if there is none.
        client: The module of ``bench.clients`` whose ``run(options)`` is a client; likewise.
        uvloop: Whether it runs on uvloop.
        compression: Whether the library has permessage-deflate; likewise ``tls`` and ``binary``.
    """

    name: str
    title: str
    distribution: str
    module: str
    client: str = ""
    uvloop: bool = False
    compression: bool = True
    tls: bool = True
    binary: bool = True

    @property
    def label(self) -> str:
        """The name that goes with the version."""
        return self.distribution or "threaded-ws"

    @property
    def in_node(self) -> bool:
        """Whether it runs on Node.js instead of Python."""
        return self.module == "npm_ws"

    @property
    def requirement(self) -> str:
        """The pinned version, in the form that pip or npm takes; empty for ours."""
        if self.in_node:
            pins = json.loads((FOLDER / "package.json").read_text())["dependencies"]
            return f"{self.distribution}@{pins[self.distribution]}"
        pins = (FOLDER / "requirements.txt").read_text().splitlines()
        return next((pin for pin in pins if pin.startswith(f"{self.distribution}==")), "")

    @property
    def version(self) -> str:
        """The installed version."""
        if self.in_node:
            return str(json.loads((NODE_MODULES / "ws/package.json").read_text())["version"])
        if not self.distribution:
            import ws  # noqa: PLC0415

            return ws.__version__
        return metadata.version(self.distribution)

    @property
    def missing(self) -> str:
        """The names of packages that it needs and that aren't installed, or an empty string."""
        if self.in_node:
            return "" if shutil.which("node") and NODE_MODULES.exists() else "Node.js with ws"
        needs = [self.distribution, *["uvloop"] * self.uvloop]
        return ", ".join(name for name in needs if name and not _installed(name))

    def command(self, *arguments: str) -> list[str]:
        """Return the command that starts its server, to be run in the root of the repository."""
        return [sys.executable, "-m", "bench.peers", self.name, *arguments]


def _installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


_PEERS = (
    Peer("threaded-ws", "threaded-ws", "", "threaded_ws", "threaded_ws"),
    Peer("threaded-ws-fast", "threaded-ws [fast]", "", "threaded_ws", "threaded_ws"),
    Peer("threaded-ws-callbacks", "threaded-ws, callbacks", "", "", "threaded_ws_callbacks"),
    Peer(
        "picows", "picows, uvloop", "picows", "picows_", "picows_", uvloop=True, compression=False
    ),
    Peer(
        "picows-compat",
        "picows.websockets, uvloop",
        "picows",
        "websockets_asyncio",
        "websockets_asyncio",
        uvloop=True,
    ),
    Peer(
        "websockets-uvloop",
        "websockets, uvloop",
        "websockets",
        "websockets_asyncio",
        "websockets_asyncio",
        uvloop=True,
    ),
    Peer(
        "websockets-asyncio",
        "websockets, asyncio",
        "websockets",
        "websockets_asyncio",
        "websockets_asyncio",
    ),
    Peer(
        "websockets-sync", "websockets, threads", "websockets", "websockets_sync", "websockets_sync"
    ),
    Peer(
        "websocket-client",
        "websocket-client",
        "websocket-client",
        "",
        "websocket_client_",
        compression=False,
    ),
    Peer("aiohttp", "aiohttp", "aiohttp", "aiohttp_", "aiohttp_"),
    Peer("tornado", "tornado", "tornado", "tornado_", "tornado_"),
    Peer(
        "simple-websocket",
        "simple-websocket",
        "simple-websocket",
        "simple_websocket_",
        "simple_websocket_",
    ),
    Peer(
        "websocket-server",
        "websocket-server",
        "websocket-server",
        "websocket_server_",
        compression=False,
        tls=False,
        binary=False,
    ),
    Peer("npm-ws", "ws, Node.js", "ws", "npm_ws", "npm_ws"),
    Peer(
        "bare",
        "no checks, in Python",
        "",
        "bare",
        compression=False,
        tls=False,
        binary=False,
    ),
)
PEERS = {peer.name: peer for peer in _PEERS}
SERVERS = {peer.name: peer for peer in _PEERS if peer.module}
CLIENTS = {peer.name: peer for peer in _PEERS if peer.client}

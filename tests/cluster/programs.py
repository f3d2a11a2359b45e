"""Redis, nodes of the chat and a proxy before them, each a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.processes import (
    PORT,
    START_SECONDS,
    Program,
    ServerProgram,
    free_port,
    listens,
)
from tests.support.tcpproxy import TCPProxy
from tests.support.waiting import eventually

CHOSEN = os.environ.get("REDIS_SERVER")
REDIS = (CHOSEN,) if CHOSEN else ("redis-server", "valkey-server")
PACKAGES: dict[str, tuple[str, ...]] = {
    REDIS[0]: REDIS,
    "nginx": ("nginx",),
    "haproxy": ("haproxy",),
}
"""The Debian packages that are needed, and for each the programs, one of which is enough."""


def find(*names: str) -> str | None:
    """Return the first of these programs that is installed; Debian has some in /usr/sbin."""
    path = os.environ["PATH"] + os.pathsep + "/usr/sbin"
    return next(filter(None, (shutil.which(name, path=path) for name in names)), None)


def compose_command() -> list[str] | None:
    """Return the command of Docker Compose: a part of Docker, or the older program."""
    for command in (["docker", "compose"], ["docker-compose"]):
        try:
            subprocess.run([*command, "version"], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return command
    return None


class Redis(Program):
    """A Redis server that keeps what it has acknowledged, on the same port each time."""

    def __init__(self, *options: str, scheme: str = "redis") -> None:
        program = find(*REDIS)
        assert program, f"no Redis: on Debian, `apt-get install {REDIS[0]}`"
        self.folder = tempfile.mkdtemp(prefix="cluster-redis-")
        self.port = free_port()
        self.url = f"{scheme}://127.0.0.1:{self.port}/0"
        listen = ("--tls-port", str(self.port), "--port", "0")
        listen = listen if scheme == "rediss" else ("--port", str(self.port))
        keep = ("--bind", "127.0.0.1", "--dir", self.folder, "--save", "", "--appendonly", "yes")
        super().__init__([program, *listen, *keep, *options])

    def start(self) -> None:
        super().start()
        eventually(lambda: listens(self.port), START_SECONDS, "Redis doesn't start")

    def close(self) -> None:
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)


class RedisProxy(TCPProxy):
    """A proxy before Redis."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


class Node(ServerProgram):
    """`python -m chat 0 ARGUMENT...`, on the same port each time."""

    def __init__(self, *arguments: str, python: str = sys.executable) -> None:
        super().__init__([python, "-m", "chat", PORT, "--host", "127.0.0.1", *arguments])


class Proxy(Program):
    """nginx or HAProxy with a configuration of docs/deploy/, before nodes on these ports."""

    def __init__(self, config: str, nodes: list[int]) -> None:
        name = config.partition(".")[0]
        program = find(name)
        if not program:
            pytest.skip(f"no {name}: on Debian, `apt-get install {name}`")
        self.port = free_port()
        self.folder = tempfile.mkdtemp(prefix="cluster-proxy-")
        path = Path(self.folder, config)
        text = (ROOT / "docs/deploy" / config).read_text()
        for number, port in enumerate(nodes, 1):
            text = text.replace(f"127.0.0.1:800{number}", f"127.0.0.1:{port}")
        text = text.replace("listen 80;", f"listen 127.0.0.1:{self.port} backlog=4096;")
        text = text.replace(
            "    user haproxy\n    group haproxy\n", ""
        )  # only root can become another user
        text = text.replace("bind :80\n", f"bind 127.0.0.1:{self.port}\n")
        path.write_text(NGINX % {"site": text, "folder": self.folder} if name == "nginx" else text)
        run = ("-p", self.folder, "-c", str(path)) if name == "nginx" else ("-db", "-f", str(path))
        super().__init__([program, *run])

        def serves() -> bool:
            assert self.runs, self.output()
            return listens(self.port)

        eventually(serves, START_SECONDS, f"{name} doesn't start")

    def close(self) -> None:
        self.terminate()  # so that nginx ends its workers
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)


NGINX = """
daemon off;
pid nginx.pid;
error_log stderr crit;
worker_processes 2;
worker_rlimit_nofile 16384;
events { worker_connections 8192; }
http {
    access_log off;
    client_body_temp_path %(folder)s/body;
    proxy_temp_path %(folder)s/proxy;
    fastcgi_temp_path %(folder)s/fastcgi;
    uwsgi_temp_path %(folder)s/uwsgi;
    scgi_temp_path %(folder)s/scgi;
%(site)s
}
"""
"""What a distribution's nginx.conf has around the files in conf.d."""


if __name__ == "__main__":  # the packages that are missing, for ci/cluster
    missing = [package for package, names in PACKAGES.items() if not find(*names)]
    print(*missing, *([] if compose_command() else ["docker-compose"]))

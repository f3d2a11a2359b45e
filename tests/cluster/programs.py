"""Redis, nodes of the chat and a proxy before them, each a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, Mapping
from urllib.parse import urlsplit

import pytest

from tests.support.wsclient import free_port, listens

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30.0
"""In which a program must serve, and later end."""
CHOSEN = os.environ.get("REDIS_SERVER")
REDIS = (CHOSEN,) if CHOSEN else ("redis-server", "valkey-server")
PACKAGES: dict[str, tuple[str, ...]] = {
    REDIS[0]: REDIS,
    "nginx": ("nginx",),
    "haproxy": ("haproxy",),
}
"""The Debian packages that are needed, and the programs of which one will do."""


def find(*names: str) -> str | None:
    """Return the first of these programs that is here; Debian keeps some where only root looks."""
    path = os.environ["PATH"] + os.pathsep + "/usr/sbin"
    return next(filter(None, (shutil.which(name, path=path) for name in names)), None)


def wait_for(condition: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not in {seconds:g} s")
        time.sleep(0.01)


def compose_command() -> list[str] | None:
    """Return how Docker Compose is called here: as a part of Docker, or the program of old."""
    for command in (["docker", "compose"], ["docker-compose"]):
        try:
            subprocess.run([*command, "version"], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return command
    return None


class Program:
    """A process, which leaves its output in a log, and ends with this one."""

    def __init__(self, *command: str, env: Mapping[str, str] | None = None) -> None:
        self.command = command
        self.env = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        self.log = tempfile.NamedTemporaryFile(prefix="cluster-", suffix=".log")  # noqa: SIM115
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, cwd=ROOT, env=self.env, stdout=self.log, stderr=self.log
        )

    def output(self) -> str:
        return Path(self.log.name).read_text(errors="replace")

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def cpu(self) -> float:
        """Return the seconds of CPU used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(SECONDS)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """SIGTERM; return the exit code."""
        if self.runs:
            self.process.terminate()
        try:
            return self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.runs:
            self.process.send_signal(signal.SIGCONT)
            self.kill()
        self.log.close()


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
        super().__init__(program, *listen, *keep, *options)

    def start(self) -> None:
        super().start()
        wait_for(lambda: listens(self.port), "Redis doesn't start")

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        shutil.rmtree(self.folder, ignore_errors=True)


class Node(Program):
    """`python -m chat 0 ARGUMENT...`, on the same port each time."""

    def __init__(self, *arguments: str, python: str = sys.executable) -> None:
        self.port = 0
        self.arguments, self.python = arguments, python
        super().__init__(python, "-m", "chat", "0", "--host", "127.0.0.1", *arguments)

    def start(self) -> None:
        said = len(self.output())
        super().start()

        def serves() -> bool:
            assert self.runs, self.output()[said:]
            urls = [word for word in self.output()[said:].split() if word.startswith("http")]
            if urls:
                self.port = urlsplit(urls[0]).port or 0
                self.command = tuple(str(self.port) if c == "0" else c for c in self.command)
            return bool(urls)

        wait_for(serves, "a node doesn't start")


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
        text = text.replace("    user haproxy\n    group haproxy\n", "")  # which takes root
        text = text.replace("bind :80\n", f"bind 127.0.0.1:{self.port}\n")
        path.write_text(NGINX % {"site": text, "folder": self.folder} if name == "nginx" else text)
        run = ("-p", self.folder, "-c", str(path)) if name == "nginx" else ("-db", "-f", str(path))
        super().__init__(program, *run)

        def serves() -> bool:
            assert self.runs, self.output()
            return listens(self.port)

        wait_for(serves, f"{name} doesn't start")

    def __exit__(self, *exc: object) -> None:
        if self.runs:
            self.stop()  # nginx has workers to tell
        super().__exit__(*exc)
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

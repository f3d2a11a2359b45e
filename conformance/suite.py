"""Ways to run wstest: in a container, or as a native command."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Iterator, Protocol

from docker import DockerClient
from docker.errors import APIError, NotFound

from conformance.engine import Say, engine
from conformance.image import find_image
from conformance.server import HarnessError

ORPHAN_SECONDS = 60
"""A container ends this long after its limit, even if this process has died."""


class Job(Protocol):
    """A wstest process that runs a shard."""

    def lines(self) -> Iterator[str]:
        """Yield what it prints, until it ends."""

    def kill(self) -> None:
        """End it; may be called from any thread."""


class Suite(Protocol):
    """A way to run wstest."""

    title: str
    host: str
    """The name of this machine inside."""

    def start(self, folder: Path, limit: float, mode: str) -> Job:
        """Run the spec.json in this folder, as a fuzzingclient or a fuzzingserver."""


class ContainerJob:
    """wstest in a container of its own."""

    def __init__(self, container: Any) -> None:
        self.container = container
        self.output = container.logs(stream=True, follow=True)

    def lines(self) -> Iterator[str]:
        rest = b""
        for chunk in self.output:
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line.decode(errors="replace") for line in whole)

    def kill(self) -> None:
        try:
            self.container.remove(force=True)
        except NotFound:
            pass
        except APIError as error:
            if error.status_code != 409:  # being removed
                raise


class DockerSuite:
    """wstest in containers."""

    def __init__(self, client: DockerClient, say: Say) -> None:
        self.client = client
        self.image = find_image(client, say)
        self.title = f"Docker image {self.image}"
        info = self.client.info()
        # The containers of Docker Desktop run in a virtual machine, which knows us by this name.
        desktop = "Docker Desktop" in info["OperatingSystem"]
        self.host = "host.docker.internal" if desktop else "127.0.0.1"
        self.network = "bridge" if desktop else "host"
        # This user must own the reports; the root of a rootless engine is this user already.
        rootless = any("rootless" in option for option in info["SecurityOptions"])
        # By default, all containers together get the share of one program of a busy machine, which
        # is too little for timers of half a second.
        self.cgroup = "/" if info["CgroupDriver"] == "cgroupfs" and not rootless else None
        self.user = "0" if rootless or os.name == "nt" else f"{os.getuid()}:{os.getgid()}"

    def start(self, folder: Path, limit: float, mode: str) -> Job:
        container = self.client.containers.create(
            self.image,
            entrypoint=["timeout", "-k", "5", f"{limit + ORPHAN_SECONDS:.0f}", "wstest"],
            command=["--mode", mode, "--spec", "spec.json", "--webport", "0"],
            working_dir="/shard",
            volumes=[f"{folder}:/shard"],
            environment={"PYTHONUNBUFFERED": "1", "HOME": "/tmp"},
            network_mode=self.network,
            ports=_published(folder) if self.network == "bridge" else {},
            user=self.user,
            cgroup_parent=self.cgroup,
            auto_remove=True,
            labels={"ws.conformance": str(os.getpid())},
        )
        try:
            container.start()
            return ContainerJob(container)
        except BaseException:
            container.remove(force=True)
            raise


def _published(folder: Path) -> dict[str, int]:
    """Return the port of a fuzzing server, for Docker Desktop."""
    url = json.loads((folder / "spec.json").read_text()).get("url", "")
    port = url.rpartition(":")[2]
    return {f"{port}/tcp": int(port)} if port else {}


class NativeJob:
    """wstest as a process of this machine."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def lines(self) -> Iterator[str]:
        assert self.process.stdout
        with self.process.stdout as output:
            for line in output:
                yield line.rstrip("\n")
        self.process.wait()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class NativeSuite:
    """The wstest command that WSTEST names."""

    host = "127.0.0.1"

    def __init__(self, command: str) -> None:
        self.command = shlex.split(command)
        self.title = f"WSTEST={command}"
        if not shutil.which(self.command[0]):
            raise HarnessError(f"WSTEST names {self.command[0]!r}, which is no command here.")

    def start(self, folder: Path, limit: float, mode: str) -> Job:
        options = ("--mode", mode, "--spec", "spec.json", "--webport", "0")
        return NativeJob([*self.command, *options], folder)


@contextmanager
def find_suite(say: Say) -> Iterator[Suite]:
    """Yield the way to run wstest on this machine."""
    native = os.environ.get("WSTEST")
    if native:
        yield NativeSuite(native)
    else:
        with ExitStack() as stack:
            try:
                suite = DockerSuite(stack.enter_context(engine(say)), say)
            except HarnessError as error:
                raise HarnessError(f"{error}\nOr set WSTEST to a native wstest command.")
            yield suite

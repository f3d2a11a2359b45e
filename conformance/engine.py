"""A Docker engine, which is found or started, and its images, which are found, pulled or built."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Callable, Iterator
from unittest.mock import patch

import docker
from docker.errors import APIError, BuildError, DockerException, ImageNotFound
from requests.exceptions import RequestException

from conformance.server import HarnessError
from tests.support import ROOT

Say = Callable[[str], None]


@contextmanager
def engine(say: Say) -> Iterator[docker.DockerClient]:
    """Yield a client of the running engine, or of one that ci/engine starts meanwhile."""
    with ExitStack() as stack:
        try:
            client = _connect()
        except HarnessError:
            if os.name == "nt" or os.geteuid():
                raise
            say("No Docker engine answers: ci/engine starts one")
            address = stack.enter_context(_started())
            if not address:
                raise
            # Programs that we start must find it, too.
            stack.enter_context(patch.dict(os.environ, DOCKER_HOST=address))
            client = _connect()
        yield stack.enter_context(closing(client))


@contextmanager
def _started() -> Iterator[str]:
    """Yield the address of an engine that ci/engine starts, or "" if that fails."""
    process = subprocess.Popen(
        ["ci/engine", "sh", "-c", 'echo "$DOCKER_HOST"; cat'],
        cwd=ROOT,
        stdin=subprocess.PIPE,  # it ends when this process does, however that ends
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C must reach only this process
    )
    assert process.stdin and process.stdout
    address = ""
    try:
        address = process.stdout.readline().strip()
        yield address
    finally:
        process.stdin.close()
        if not address:  # it may be waiting for another engine
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        process.stdout.close()


def _connect() -> docker.DockerClient:
    """Return a client of the engine that this user's `docker` command would talk to."""
    try:
        if "DOCKER_HOST" in os.environ:
            return docker.from_env()
        context = docker.ContextAPI.get_current_context()
        return docker.DockerClient(base_url=context.Host if context else None)
    except DockerException as error:
        if "Permission denied" in str(error):
            raise HarnessError(
                "You may not talk to the Docker engine: join its group with"
                " `sudo usermod -aG docker $USER` and log in again."
            )
        raise HarnessError(
            "No Docker engine answers: start Docker, or run this as root on Debian, where ci/engine"
            " installs and starts one."
        )


def exists(client: docker.DockerClient, name: str) -> bool:
    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True


def pull(client: docker.DockerClient, name: str, say: Say) -> bool:
    """Fetch an image from its registry; return whether that succeeded."""
    say(f"Pulling {name}")
    try:
        client.images.pull(*name.split(":"))
    except (APIError, RequestException):
        say("  which can't be had here")
        return False
    return True


def find_base(client: docker.DockerClient, release: str, say: Say) -> str:
    """Find, pull or make an image of a Debian release; return its name."""
    public, own = f"debian:{release}-slim", f"ws-base:{release}"
    for name in (public, own):
        if exists(client, name):
            return name
    if pull(client, public, say):
        return public
    if os.name == "nt" or os.geteuid() or not shutil.which("debootstrap"):
        raise HarnessError(
            f"{public} can't be pulled: mend the engine's way to its registry, or install"
            " debootstrap and run this as root."
        )
    say(f"Making {own} with debootstrap (a minute or two)")
    with tempfile.TemporaryDirectory() as folder:
        root, archive = Path(folder, "root"), Path(folder, "base.tar")
        unneeded = ("dev", "var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man")
        excludes = [f"--exclude=./{path}/*" for path in unneeded]
        for command in (
            ["debootstrap", "--variant=minbase", release, str(root)],
            ["tar", "-C", str(root), *excludes, "-cf", str(archive), "."],
        ):
            done = subprocess.run(command, capture_output=True, check=False)
            if done.returncode:
                last = (done.stdout + done.stderr).decode(errors="replace").strip()[-300:]
                raise HarnessError(f"{command[0]} failed; mend what it says at the end:\n{last}")
        client.api.import_image_from_file(str(archive), *own.split(":"))
    return own


def build(
    client: docker.DockerClient, name: str, folder: Path, dockerfile: str, say: Say, **args: str
) -> str:
    """Build an image from a folder, with the host's network; return its name."""
    say(f"Building {name}")
    try:
        client.images.build(
            path=str(folder),
            dockerfile=dockerfile,
            tag=name,
            buildargs=args,
            network_mode="host",
            use_config_proxy=True,
            rm=True,
            forcerm=True,
        )
    except BuildError as error:
        log = "".join(step.get("stream", "") for step in error.build_log)
        raise HarnessError(
            f"The image doesn't build ({error.msg}); mend what its log says at the end:\n"
            + log.strip()[-1000:]
        )
    return name

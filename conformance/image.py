"""A Docker engine, and in it the image with the Autobahn suite: found, pulled or built."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import ssl
import subprocess
import tarfile
import tempfile
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Callable, Iterator

import certifi
import docker
from docker.errors import APIError, DockerException, ImageNotFound
from requests.exceptions import RequestException

from conformance.server import ROOT, HarnessError

SUITE = "autobahntestsuite==25.10.1"
PUBLIC = "crossbario/autobahn-testsuite:25.10.1"
BASE = "debian:bullseye-slim"
OWN_BASE = "ws-autobahn-base:bullseye"
"""What debootstrap makes, where BASE can't be pulled."""
DOCKERFILE = Path(__file__).parent / "Dockerfile"

Say = Callable[[str], None]


@contextmanager
def engine(say: Say) -> Iterator[docker.DockerClient]:
    """Give a client of the engine that answers, or of one that ci/engine starts for as long."""
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
            client = docker.DockerClient(base_url=address)
        yield stack.enter_context(closing(client))


@contextmanager
def _started() -> Iterator[str]:
    """Give the address of an engine of our own, or nothing; what it is up to goes to stderr."""
    process = subprocess.Popen(
        ["ci/engine", "sh", "-c", 'echo "$DOCKER_HOST"; cat'],
        cwd=ROOT,
        stdin=subprocess.PIPE,  # it ends when we do, however that comes about
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for us
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
                " `sudo usermod -aG docker $USER` and log in again, or set WSTEST to a native"
                " wstest command."
            )
        raise HarnessError(
            "No Docker engine answers: start Docker, or run this as root on Debian, where ci/engine"
            " installs and starts one, or set WSTEST to a native wstest command."
        )


def find_image(client: docker.DockerClient, say: Say) -> str:
    """Return the name of an image with the suite, which is pulled or built if need be."""
    content = DOCKERFILE.read_bytes() + SUITE.encode()
    own = f"ws-autobahn:{hashlib.sha256(content).hexdigest()[:12]}"
    for name in (PUBLIC, own):
        if _exists(client, name):
            return name
    if _pull(client, PUBLIC, say):
        return PUBLIC
    base = next((name for name in (BASE, OWN_BASE) if _exists(client, name)), None)
    if base is None:
        base = BASE if _pull(client, BASE, say) else _bootstrap(client, say)
    return _build(client, own, base, say)


def _exists(client: docker.DockerClient, name: str) -> bool:
    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True


def _pull(client: docker.DockerClient, name: str, say: Say) -> bool:
    say(f"Pulling {name}")
    try:
        client.images.pull(*name.split(":"))
    except (APIError, RequestException):
        say("  which can't be had here")
        return False
    return True


def _bootstrap(client: docker.DockerClient, say: Say) -> str:
    """Make a base image out of Debian's packages."""
    if os.name == "nt" or os.geteuid() or not shutil.which("debootstrap"):
        raise HarnessError(
            f"Neither {PUBLIC} nor {BASE} can be pulled: mend the engine's way to its registry, or"
            " install debootstrap and run this as root, or set WSTEST to a native wstest command."
        )
    say("Making a base image with debootstrap (a minute or two)")
    with tempfile.TemporaryDirectory() as folder:
        root, archive = Path(folder, "root"), Path(folder, "base.tar")
        unneeded = ("dev", "var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man")
        excludes = [f"--exclude=./{path}/*" for path in unneeded]
        for command in (
            ["debootstrap", "--variant=minbase", "bullseye", str(root)],
            ["tar", "-C", str(root), *excludes, "-cf", str(archive), "."],
        ):
            done = subprocess.run(command, capture_output=True, check=False)
            if done.returncode:
                last = (done.stdout + done.stderr).decode(errors="replace").strip()[-300:]
                raise HarnessError(f"{command[0]} failed; mend what it says at the end:\n{last}")
        client.api.import_image_from_file(str(archive), *OWN_BASE.split(":"))
    return OWN_BASE


def _build(client: docker.DockerClient, name: str, base: str, say: Say) -> str:
    say(f"Building {name} with {SUITE} on {base} (a minute or two)")
    certificates = ssl.get_default_verify_paths().cafile or certifi.where()
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        tar.add(DOCKERFILE, "Dockerfile")
        tar.add(os.path.realpath(certificates), "ca-certificates.crt")
    context.seek(0)
    log = ""
    for step in client.api.build(
        fileobj=context,
        custom_context=True,
        tag=name,
        buildargs={"BASE": base, "SUITE": SUITE},
        network_mode="host",
        use_config_proxy=True,
        rm=True,
        forcerm=True,
        decode=True,
    ):
        log += step.get("stream", "")
        if "error" in step:
            raise HarnessError(
                f"The image doesn't build ({step['error']}); mend what its log says at the end:\n"
                + log.strip()[-1000:]
            )
    return name

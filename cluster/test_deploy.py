"""The container of docs/deploy/, built and started where an engine answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile

import pytest
from wsclient import connect, free_port

from cluster.programs import ROOT, Redis, find, wait_for

BASE, OWN_BASE = "debian:bookworm-slim", "ws-cluster-base:bookworm"
"""What the Dockerfile begins with, and what debootstrap makes where that can't be pulled."""


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert not (check and done.returncode), f"docker {arguments[0]}: {done.stdout}{done.stderr}"
    return done


@pytest.fixture(scope="module")
def base() -> str:
    """The name of a base image."""
    if not shutil.which("docker") or docker("version", check=False).returncode:
        pytest.skip("no Docker engine answers: start one, or run `ci/engine nox -s cluster`")
    for name in (BASE, OWN_BASE):
        if not docker("image", "inspect", name, check=False).returncode:
            return name
    if not docker("pull", "--quiet", BASE, check=False).returncode:
        return BASE
    if os.geteuid() or not shutil.which("debootstrap"):
        pytest.skip(f"{BASE} can't be pulled, and only root with debootstrap can make one")
    with tempfile.TemporaryDirectory() as folder:
        for command in (
            f"debootstrap --variant=minbase bookworm {folder}/root",
            f"tar -C {folder}/root --exclude=./dev/* -cf {folder}/tar .",
            f"docker import {folder}/tar {OWN_BASE}",
        ):
            done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
            assert not done.returncode, f"{command}: {done.stdout[-500:]}{done.stderr[-500:]}"
    return OWN_BASE


@pytest.mark.timeout(600)
def test_the_image_is_a_node(base: str) -> None:
    dockerfile = str(ROOT / "docs/deploy/Dockerfile")
    build = ("--network=host", "--quiet", f"--build-arg=BASE={base}", "-f", dockerfile)
    image = docker("build", *build, str(ROOT)).stdout.strip()
    port = str(free_port())
    with Redis() as redis:
        command = (image, port, "--host", "127.0.0.1", "--redis", redis.url)
        container = docker("run", "--detach", "--rm", "--network=host", *command).stdout.strip()
        try:
            wait_for(lambda: "Chat on" in docker("logs", container).stdout, "it doesn't serve", 60)
            with connect(int(port), "/?room=kitchen&name=Ann") as client:
                client.send("from a container")
                assert client.recv() == "Ann: from a container"
            docker("stop", "--time=15", container)
        finally:
            docker("kill", container, check=False)


def test_the_compose_file_and_its_proxy_s_are_valid() -> None:
    deploy = ROOT / "docs/deploy"
    haproxy = find("haproxy")
    compose = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    checks = [[*compose, "-f", str(deploy / "compose.yaml"), "config", "--quiet"]]
    checks += [[haproxy, "-c", "-f", str(deploy / "haproxy-compose.cfg")]] if haproxy else []
    if (
        not shutil.which(compose[0])
        or subprocess.run([*compose, "version"], check=False).returncode
    ):
        del checks[0]
    for check in checks:
        done = subprocess.run(check, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stdout + done.stderr
    if len(checks) < 2:
        pytest.skip("there is no Compose, or no haproxy, to look at its file")

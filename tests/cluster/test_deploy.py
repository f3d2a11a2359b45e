"""The files of docs/deploy/ for Docker and systemd work; a node that dies loses no message."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Callable, Iterator

import pytest

from tests.cluster.crowd import Crowd
from tests.cluster.programs import compose_command
from tests.support import ROOT
from tests.support.chatclient import ChatClient
from tests.support.processes import free_port
from tests.support.waiting import eventually
from ws import ConnectionClosed, HandshakeRefused

pytest.importorskip("docker")

from docker import DockerClient
from docker.errors import APIError
from docker.models.containers import Container

from conformance.engine import Say, build, engine, exists, find_base, pull
from conformance.server import HarnessError

DEPLOY = ROOT / "docs/deploy"
DOCKERFILE = ROOT / "tests/cluster/Dockerfile"
NAME = f"ws-cluster-{os.getpid()}"
"""The name of the Compose project, the containers and the networks of this run."""
NODE = "ws-cluster-node"
"""The image that docs/deploy/Dockerfile makes."""
CLIENTS, ROOMS = 60, 3
BOOT_SECONDS = 60.0
UNITS = ("chat@.service", "chat-workers.service")

pytestmark = pytest.mark.timeout(600)  # the first time, images are built


def outlast(port: int, *deaths: Callable[[], None]) -> list[int]:
    """Cause deaths while people talk, who must hear everything; return how many each cut off."""
    cut = []
    with Crowd(f"ws://127.0.0.1:{port}/", CLIENTS, ROOMS) as crowd:
        crowd.until(crowd.all_here, "not all are let in")
        for death in deaths:
            before = [client.cuts for client in crowd.clients]
            crowd.talk(4, 4)
            time.sleep(1)
            death()
            crowd.until(lambda: crowd.all_here() and crowd.all_heard(), "not all are back")
            cut.append(sum(c.cuts > cuts for c, cuts in zip(crowd.clients, before)))
        assert not crowd.faults(), crowd.faults()[:10]
    return cut


@pytest.fixture(scope="module")
def say(request: pytest.FixtureRequest) -> Say:
    """Print why the test takes long."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{text}", end="", flush=True)

    return say


@pytest.fixture(scope="module")
def docker(say: Say) -> Iterator[DockerClient]:
    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(engine(say))
        except HarnessError as error:
            pytest.skip(str(error))
        yield client


@pytest.fixture(scope="module")
def base(docker: DockerClient, say: Say) -> str:
    return find_base(docker, "bookworm", say)


@pytest.fixture(scope="module")
def debian(docker: DockerClient, base: str, say: Say) -> str:
    """The image of a machine with systemd, Redis and HAProxy."""
    name = f"ws-cluster:{hashlib.sha256(DOCKERFILE.read_bytes()).hexdigest()[:12]}"
    if not exists(docker, name):
        build(docker, name, DOCKERFILE.parent, DOCKERFILE.name, say, BASE=base)
    return name


class Compose:
    """Docker Compose with our file, what *ours* changes in it, and a port of its own."""

    def __init__(self, command: list[str], ours: Path) -> None:
        files = ("-f", str(DEPLOY / "compose.yaml"), "-f", str(ours))
        self.command = (*command, "-p", NAME, *files)
        self.port = free_port()

    def __call__(self, *arguments: str) -> None:
        command = [*self.command, *arguments]
        environment = {**os.environ, "PORT": str(self.port)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        print(done.stdout, done.stderr, sep="")  # to be seen when the test fails
        assert not done.returncode, arguments


@pytest.fixture
def compose(docker, base, debian, say, tmp_path) -> Iterator[Compose]:
    command = compose_command()
    if not command:
        pytest.skip("no Docker Compose: on Debian, `apt-get install docker-compose`")
    build = {"args": {"BASE": base}, "network": "host"}
    services: dict[str, dict[str, object]] = {"node": {"image": NODE, "build": build}}
    public = re.findall("image: (.+)", (DEPLOY / "compose.yaml").read_text())
    if not all(exists(docker, image) or pull(docker, image, say) for image in public):
        haproxy = "haproxy -W -db -f /usr/local/etc/haproxy/haproxy.cfg"
        services["redis"] = {"image": debian}
        services["proxy"] = {"image": debian, "user": "haproxy", "command": haproxy}
    ours = tmp_path / "compose.json"
    ours.write_text(json.dumps({"services": services}))
    compose = Compose(command, ours)
    last = docker.images.get(NODE) if exists(docker, NODE) else None
    say(f"Building {NODE}")
    compose("build")
    if last and last != docker.images.get(NODE):
        with contextlib.suppress(APIError):  # somebody uses it
            docker.images.remove(last.id)
    try:
        yield compose
        compose("logs", "--tail=20")
    finally:
        compose("down", "--volumes", "--timeout=1")


def test_the_composed_nodes_are_one(docker, compose):
    compose("up", "--detach", "--scale=node=3", "node")
    (redis,), nodes = (
        docker.containers.list(all=True, filters={"name": f"^{NAME}[-_]{service}[-_]"})
        for service in ("redis", "node")
    )
    # If the proxy came before them, all clients could be on the first.
    eventually(
        lambda: all(b"Chat on" in node.logs() for node in nodes), 60, "the nodes don't serve"
    )
    compose("up", "--detach", "--scale=node=3")

    def restart_redis() -> None:
        redis.kill()
        redis.start()

    of_node, _ = outlast(compose.port, nodes[0].kill, restart_redis)
    assert CLIENTS / 6 < of_node < CLIENTS
    for node in nodes[1:]:
        node.stop(timeout=15)
        assert node.wait()["StatusCode"] == 0
        assert "Traceback" not in node.logs().decode(), node.logs().decode()


class Machine:
    """A container whose first process is systemd, with the units and what they run."""

    def __init__(self, container: Container) -> None:
        self.container = container
        files = io.BytesIO()
        with tarfile.open(fileobj=files, mode="w") as tar:
            for name in ("ws", "chat"):
                tar.add(ROOT / name, f"opt/threaded-ws/{name}", filter=_is_source)
            for unit in UNITS:
                tar.add(DEPLOY / unit, f"etc/systemd/system/{unit}")
            tar.add(DEPLOY / "haproxy.cfg", "etc/haproxy/haproxy.cfg")
        container.put_archive("/", files.getvalue())
        container.start()
        self.wait_until_booted()

    def run(self, command: str) -> tuple[bool, str]:
        """Return whether it succeeds, and its output."""
        code, output = self.container.exec_run(["sh", "-c", command])
        return code == 0, f"{command}: {output.decode()}"

    def __call__(self, command: str) -> None:
        done, output = self.run(command)
        assert done, output

    def wait_for(self, command: str) -> None:
        eventually(lambda: self.run(command)[0], BOOT_SECONDS, command)

    def wait_until_booted(self) -> None:
        self.wait_for("systemctl is-system-running | grep -E 'running|degraded'")

    def reboot(self) -> None:
        self.container.restart(timeout=30)
        self.wait_until_booted()

    def port(self, number: int) -> int:
        """Return the port of ours that leads to a port of the container."""
        self.container.reload()
        return int(self.container.ports[f"{number}/tcp"][0]["HostPort"])

    def person(self, port: int, name: str) -> ChatClient:
        """Return a client of the chat at this port, as soon as the chat serves."""
        found: list[ChatClient] = []

        def comes() -> bool:
            with contextlib.suppress(OSError, HandshakeRefused, ConnectionClosed):
                found.append(ChatClient(self.port(port), name, "kitchen"))
            return bool(found)

        eventually(comes, BOOT_SECONDS, f"port {port} of the machine isn't the chat")
        return found[0]


def _is_source(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in entry.name else entry


@pytest.fixture
def machine(docker: DockerClient, debian: str) -> Iterator[Machine]:
    """Give a machine that has booted: a container with more rights than others."""
    # systemd has to write to its own control groups, in the unified hierarchy (version 2).
    cgroups = "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup"
    network = docker.networks.create(NAME)
    try:
        container = docker.containers.create(
            debian,
            ["sh", "-c", f"{cgroups} && exec /sbin/init"],
            environment={"container": "docker"},
            cap_add=["SYS_ADMIN"],
            security_opt=["seccomp=unconfined", "apparmor=unconfined"],
            cgroupns="private",
            tmpfs={"/run": ""},
            stop_signal="SIGRTMIN+3",
            network=NAME,
            ports=dict.fromkeys((80, 8000), ("127.0.0.1", None)),
        )
        try:
            machine = Machine(container)
            yield machine
            print(machine.run("journalctl --boot --lines=50")[1])
        finally:
            container.remove(force=True, v=True)
    finally:
        network.remove()


@pytest.mark.parametrize("unit", ["chat@8001.service", "chat-workers.service"])
def test_a_unit_is_valid_and_confines(machine, unit):
    machine(f"! systemd-analyze verify {unit} 2>&1 | grep .")
    machine(f"systemd-analyze security --threshold=20 {unit}")
    machine(f"systemctl start {unit}")
    # From this number on, they are users of a service.
    machine(f"test $(stat -c %u /proc/$(systemctl show -P MainPID {unit})) -ge 61184")


def test_units_behind_haproxy_survive(machine):
    machine("systemctl enable --now chat@8001 chat@8002 chat@8003")
    for port in (8001, 8002, 8003):
        machine.wait_for(f"journalctl --unit=chat@{port} | grep 'Chat on http'")
    machine("systemctl restart haproxy")  # otherwise all clients could be on the first

    def kill(unit: str) -> Callable[[], None]:
        return lambda: machine(f"systemctl kill --kill-who=main --signal=KILL {unit}")

    of_node, _ = outlast(machine.port(80), kill("chat@8002"), kill("redis-server"))
    assert CLIENTS / 6 < of_node < CLIENTS
    machine("systemctl show chat@8002 | grep -x NRestarts=1 && systemctl is-active chat@8002")


def test_units_come_with_the_machine_and_wait_for_redis(machine):
    machine("systemctl mask redis-server && systemctl enable chat@8001")
    machine.reboot()
    machine.wait_for("systemctl show chat@8001 | grep -x NRestarts=6")  # five is systemd's limit
    machine("systemctl unmask redis-server && systemctl start redis-server")
    machine.person(80, "Ann").say("at last")


def test_workers_come_again_and_say_goodbye(machine):
    machine("systemctl enable --now chat-workers")
    machine.person(8000, "Ann").say("before")
    machine("systemctl kill --kill-who=main --signal=KILL chat-workers")
    machine.wait_for("systemctl show chat-workers | grep -x NRestarts=1")
    bob = machine.person(8000, "Bob")
    assert [message["text"] for message in bob.welcome["messages"]] == ["before"]
    machine("systemctl stop --no-block chat-workers")
    with pytest.raises(ConnectionClosed, match="1001"):
        bob.hear("nothing more")
    bob.leave()
    machine.wait_for("systemctl show chat-workers | grep -x ActiveState=inactive")
    machine("systemctl show chat-workers | grep -x Result=success")
    machine("systemctl show chat-workers | grep -x ExecMainStatus=0")

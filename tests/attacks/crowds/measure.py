"""Runs a crowd against a server, and measures what that costs others."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path

from tests.support.certificates import issue_rsa
from tests.support.processes import Program, ServerProgram, module
from ws.engine.limits import Limits

KNOWN = {field.name for field in fields(Limits)}
QUIET_SECONDS = 0.5
"""How long the honest clients are alone, at first."""
FAULT = re.compile(r"Traceback|^(ERROR|CRITICAL)", re.MULTILINE)
"""What a server's log must not have, whatever peers do."""

FEW = 3
"""How many faults of a kind are worth telling."""


@dataclass
class Figures:
    """What was measured: times in milliseconds, `cpu` and `seconds` in seconds, memory in MiB."""

    crowd: str
    sent: int
    """Bytes."""
    lost: int
    """Connections of attackers that were refused, cut or closed."""
    messages: int
    """Of the honest clients, answered."""
    p50: float
    p99: float
    max: float
    worked_p99: float
    """CPU time that the server used while an honest client waited."""
    worked_max: float
    neighbour_p99: float
    """For an honest client with the attackers' address."""
    late: float
    """By how much the honest clients' own timers were late, in 99 of 100 cases."""
    cpu: float
    seconds: float
    memory: float
    """By which the server has grown, at its peak."""
    faults: list[str]
    """Messages that were lost, errors of honest clients, and errors in the server's log."""


def command(crowd, folder):
    """Return the command that starts the server for a crowd."""
    if crowd.program == "chat":
        return module("chat", 0, "--host", "127.0.0.1")
    options = {
        name: value
        for name, value in crowd.options.items()
        if name != "max_memory" or name in KNOWN
    }
    options.update(issue_rsa(folder, crowd.rsa).options if crowd.rsa else {})
    return module("tests.attacks.crowds.server", json.dumps(options))


def measure(crowd, seconds, start=None):
    """Have a crowd attack for some seconds.

    Args:
        crowd: One of the table.
        seconds: How long.
        start: The command that starts the server; by default ours as the crowd wants it.

    Returns:
        The figures.
    """
    server_core, others_core = cores()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        with pinned(server_core):
            server = stack.enter_context(ServerProgram(start or command(crowd, folder)))
        with pinned(others_core):
            bystanders = stack.enter_context(start_bystanders(crowd, server))
            expect(bystanders, "ready\n")
            time.sleep(QUIET_SECONDS)
            before = server.usage()[0]
            forget_peak(server.pid)
            floods = [
                stack.enter_context(start_flood(crowd, number, server))
                for number in range(len(crowd.floods))
            ]
            for flood in floods:
                expect(flood, "ready\n")
            cpu, since = clock(server.pid), time.monotonic()
            say(bystanders, "begin")
            for flood in floods:
                say(flood, str(seconds))
            if not floods:
                time.sleep(seconds)
            sent = [json.loads(flood.read_line()) for flood in floods]
            seen = json.loads(bystanders.ask("end"))
            cpu, lasted = clock(server.pid) - cpu, time.monotonic() - since
            memory = peak(server.pid) - before
        faults = seen["errors"][:FEW]
        if seen["lost"]:
            faults.append(f"{seen['lost']} messages lost")
        if not server.runs:
            faults.append("the server has ended")
        faults += [line for line in server.output().splitlines() if FAULT.search(line)][:FEW]
        return Figures(
            crowd=crowd.name,
            sent=sum(each["sent"] for each in sent),
            lost=sum(each["lost"] for each in sent),
            neighbour_p99=seen["neighbour"]["p99"],
            cpu=cpu,
            seconds=lasted,
            memory=memory,
            faults=faults,
            **{
                key: seen[key]
                for key in ("messages", "p50", "p99", "max", "worked_p99", "worked_max", "late")
            },
        )


def start_bystanders(crowd, server):
    """Start the honest clients."""
    options = {
        "port": server.port,
        "pid": server.pid,
        "tls": server.secure,
        "chat": crowd.program == "chat",
    }
    name = "tests.attacks.crowds.bystanders"
    return Program(module(name, json.dumps(options)), talks=True)


def start_flood(crowd, number, server):
    """Start one of a crowd's floods."""
    tls = ["tls"] if server.secure else []
    arguments = (crowd.name, number, server.port, *tls)
    return Program(module("tests.attacks.crowds.floods", *arguments), talks=True)


def expect(program, line):
    """Wait until a program prints a line."""
    said = program.read_line()
    assert said == line, f"{program}: {said}"


def say(program, line):
    """Send a program a line, without waiting for an answer."""
    program.process.stdin.write(line + "\n")
    program.process.stdin.flush()


def cores():
    """Return the processors for the server and for all others; the same if there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return {usable[0]}, {usable[1 % len(usable)]}


@contextmanager
def pinned(processors):
    """Have programs that are started in the block run on these processors."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def clock(pid):
    """Return the seconds of CPU time that a process has used."""
    return time.clock_gettime(~pid << 3 | 2)


def peak(pid):
    """Return the most MiB that were resident since `forget_peak`."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status).group(1)) / 1024


def forget_peak(pid):
    """Have `peak` begin anew; where that isn't allowed, it counts from the start."""
    with suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")

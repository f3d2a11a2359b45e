"""Runs a crowd against a server, and measures what that costs others."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, fields
from pathlib import Path

from tests.attacks.figures import Figures
from tests.attacks.honest_clients import Options, Seen
from tests.support.certificates import issue_rsa
from tests.support.processes import Program, ServerProgram, module
from ws.engine.limits import Limits

QUIET_SECONDS = 0.5
"""How long the honest clients are alone, at first."""
HONEST = {"count": 8, "apart": True, "batch": 1, "path": "/"}
"""Options of the honest clients."""
CHAT_PACE_SECONDS = 0.1
"""The pace of these in the chat, which allows no more."""
COMPLAINT = re.compile(r"^(?:Traceback|ERROR|CRITICAL)", re.MULTILINE)
"""What a server's log must not have, whatever peers do."""


def command(crowd, folder):
    """Return the command that starts our server for a crowd."""
    if crowd.program == "chat":
        return module("chat", 0, "--host", "127.0.0.1")
    known = {field.name for field in fields(Limits)} | {"compression"}
    options = {name: value for name, value in crowd.options.items() if name in known}
    options.update(issue_rsa(folder, crowd.rsa).options if crowd.rsa else {})
    return module("tests.attacks.crowds.server", json.dumps(options))


def measure(crowd, seconds, start=None):
    """Have a crowd attack, and return the figures.

    Args:
        crowd: One of the table.
        seconds: How long.
        start: The command that starts a server; by default ours as the crowd wants it.
    """
    server_core, others_core = cores()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        with pinned(server_core):
            server = stack.enter_context(ServerProgram(start or command(crowd, folder)))
        with pinned(others_core):
            honest = stack.enter_context(start_honest_clients(crowd, server))
            expect(honest, "ready\n")
            time.sleep(QUIET_SECONDS)
            forget_peak(server.pid)
            before = server.usage()[0]
            floods = [
                stack.enter_context(start_flood(crowd, number, server))
                for number in range(len(crowd.floods))
            ]
            for flood in floods:
                expect(flood, "ready\n")
            cpu, since = clock(server.pid), time.monotonic()
            honest.tell("begin")
            for flood in floods:
                flood.tell(str(seconds))
            sent = [json.loads(flood.read_line()) for flood in floods]
            time.sleep(max(0, since + seconds - time.monotonic()))
            others, neighbours = (Seen(**each) for each in json.loads(honest.ask("stop")))
            return Figures(
                title=crowd.title,
                connections=crowd.connections,
                sent=sum(each["sent"] for each in sent),
                others=others,
                neighbours=neighbours,
                cpu=clock(server.pid) - cpu,
                seconds=time.monotonic() - since,
                memory=peak(server.pid) - before,
                bounds=crowd.bounds,
                lost=sum(each["lost"] for each in sent),
                complaints=complaints(server),
            )


def start_honest_clients(crowd, server):
    """Start the honest clients."""
    options = Options(port=server.port, pid=server.pid, tls=server.secure, **HONEST)
    if crowd.program == "chat":
        options.chat, options.pace = True, CHAT_PACE_SECONDS
    return Program(module("tests.attacks.honest_clients", json.dumps(asdict(options))), talks=True)


def start_flood(crowd, number, server):
    """Start one of a crowd's floods."""
    tls = ["tls"] if server.secure else []
    arguments = (crowd.name, number, server.port, *tls)
    return Program(module("tests.attacks.crowds.floods", *arguments), talks=True)


def expect(program, line):
    """Wait until a program prints a line."""
    said = program.read_line()
    assert said == line, f"{program}: {said}"


def complaints(server):
    """Return what the server's log has that it must not have, and whether it has ended."""
    found = COMPLAINT.findall(server.output())
    said = [f"{len(found)} errors logged"] if found else []
    return said if server.runs else [*said, "the server has ended"]


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

"""The example backplane.py, as two processes on a real Redis."""

from __future__ import annotations

import contextlib
import sys

from tests.support import ROOT
from tests.support.client import Client
from tests.support.processes import Program, free_port, listens
from tests.support.waiting import eventually


def test_what_a_client_says_reaches_those_of_another_process(redis, tmp_path):
    source = (ROOT / "examples" / "backplane.py").read_text(encoding="utf-8")
    source = source.replace("redis://localhost", redis.url)
    ports = [free_port(), free_port()]
    with contextlib.ExitStack() as stack:
        for port in ports:
            path = tmp_path / f"backplane_{port}.py"
            path.write_text(source.replace("8000", str(port)), encoding="utf-8")
            program = Program([sys.executable, str(path)], env={"PYTHONPATH": str(ROOT)})
            stack.enter_context(program)
        eventually(lambda: all(map(listens, ports)), what="the processes don't serve")
        ann, bob = (stack.enter_context(Client(port)) for port in ports)

        def hears() -> bool:
            ann.send("hello")
            with contextlib.suppress(TimeoutError):
                return bob.recv(0.2) == "hello"
            return False

        # Both must have found Redis before.
        eventually(hears, what="the other process doesn't hear of it")
        assert ann.recv() == "hello"

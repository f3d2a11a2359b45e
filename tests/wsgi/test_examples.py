"""The example that needs gunicorn and a Redis: examples/flask_workers.py. And docs/wsgi.md."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.processes import module
from tests.support.waiting import eventually
from tests.wsgi.programs import HERE, Site

PAGE = (ROOT / "docs" / "wsgi.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


def test_flask_workers(tmp_path, redis):
    program = (ROOT / "examples" / "flask_workers.py").read_text(encoding="utf-8")
    url = "redis://localhost:6379/0"
    assert url in program
    Path(tmp_path, "site_app.py").write_text(program.replace(url, redis.url), encoding="utf-8")
    options = ("--bind", HERE, "--workers=2", "--threads=4", f"--pythonpath={tmp_path},{ROOT}")
    with Site(module("gunicorn", *options, "site_app")) as site, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(site.connect("/ws")) for _ in range(4)]
        eventually(lambda: site.fetch("/notify", "news")[1] == "4 clients\n")
        for client in clients:
            eventually(lambda client=client: client.recv() == "news")


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_blocks_of_the_page_run(number):
    exec(compile(BLOCKS[number], "docs/wsgi.md", "exec"), {"__name__": f"block_{number}"})

"""The chat as a person starts it: `python3 -m chat`, or chat/chat.py from anywhere."""

from __future__ import annotations

import contextlib
import re
import sys
import threading

from tests.support import ROOT
from tests.support.processes import popen
from tests.support.waiting import DEADLINE

MODULE = ("-m", "chat")
SCRIPT = (str(ROOT / "chat" / "chat.py"),)
LIFETIME_SECONDS = 60


def start(*arguments, how=MODULE, cwd=ROOT, python=sys.executable):
    """Start the chat as a process."""
    command = [python, *how, *map(str, arguments)]
    return popen(command, cwd=str(cwd), universal_newlines=True)


@contextlib.contextmanager
def chatting(*arguments, **options):
    """Run the chat; the process has the first `line` that it printed, and its `port`."""
    process = start(*arguments, **options)
    watchdog = threading.Timer(LIFETIME_SECONDS, process.kill)
    watchdog.start()
    try:
        process.line = process.stdout.readline()
        url = re.search(r"(https?)://[\w.]+:(\d+)/", process.line)
        assert url, process.line or process.stderr.read()
        process.scheme, process.port = url.group(1), int(url.group(2))
        yield process
    finally:
        process.kill()
        process.communicate()
        watchdog.cancel()


def refused(*arguments):
    """Return the one sentence with which the chat refuses to start."""
    process = start(*arguments)
    try:
        out, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    assert (process.returncode, out) == (2, "")
    assert re.match(r"chat: .+\n\Z", err), err
    return err

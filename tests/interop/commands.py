"""How a program's file is run, and compiled before that."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from glob import glob
from pathlib import Path

from tests.interop.packages import NODE_MODULES

HERE = Path(__file__).parent
BUILT = HERE / "build"
FOLDERS = {"client": HERE / "clients", "server": HERE / "servers", "proxy": HERE / "proxies"}


def command(row):
    """Return the command that runs a row's program, which is compiled if it has to be."""
    *before, name = row.file.split()
    path = FOLDERS[row.kind] / name
    if row.kind == "proxy":
        return [sys.executable, str(path.with_name("behind.py")), str(path)]
    if before and before[0].startswith("/"):
        return [*before, str(path)]
    if before:
        return [str(NODE_MODULES / ".bin" / before[0]), *before[1:], str(path)]
    return RUN[path.suffix](path)


def _interpreted(*interpreter):
    return lambda path: [*interpreter, str(path)]


def _compiled(*compiler, **environment):
    """Return a function that compiles, if the source is newer, and returns the program."""

    def compile_(path):
        target = BUILT / path.parent.name / path.stem
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may be compiling it
            if not target.exists() or target.stat().st_mtime < path.stat().st_mtime:
                parts = {"{source}": str(path), "{target}": str(target)}
                words = [parts.get(part, part) for part in compiler]
                subprocess.run(words, env={**os.environ, **environment}, check=True)
        return [str(target)]

    return compile_


JARS = [*glob("/usr/share/java/jetty9-*[!0-9].jar"), "/usr/share/java/servlet-api.jar"]
"""Where Debian has the packages for Java."""
RUN = {
    ".py": _interpreted(sys.executable),
    ".js": _interpreted("node"),
    ".mjs": _interpreted("node"),
    ".rb": _interpreted("ruby"),
    ".pl": _interpreted("perl"),
    ".sh": _interpreted("sh"),
    ".java": _interpreted("java", "-cp", os.pathsep.join(JARS)),
    ".go": _compiled(
        *("go", "build", "-o", "{target}", "{source}"),
        GOPATH="/usr/share/gocode",
        GO111MODULE="off",
    ),
    ".cpp": _compiled(
        *("g++", "-std=c++17", "-O0", "-o", "{target}", "{source}"),
        *("-lssl", "-lcrypto", "-lpthread"),
    ),
}
"""What runs a file, by its suffix."""

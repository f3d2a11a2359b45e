"""What the foreign programs need: packages of PyPI, npm and Debian, and programs.

`python -m tests.interop.packages` prints the Debian packages that the quick half lacks, for
ci/interop; with `--all`, those that any program lacks.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
NODE_MODULES = HERE / "node_modules"


def version(need):
    """Return the version of what is needed, without Debian's additions, or None if it is missing.

    Args:
        need: "pypi:NAME", "npm:NAME", "debian:PACKAGE", or a program's name.
    """
    kind, _, name = need.rpartition(":")
    return VERSIONS[kind](name)


def _pypi(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _npm(name):
    path = NODE_MODULES / name / "package.json"
    return json.loads(path.read_text(encoding="utf-8"))["version"] if path.exists() else None


def _debian(name):
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", name]
    try:
        found = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    status, _, number = found.partition(" ")
    upstream = re.match(r"(?:\d+:)?([\d.]+)", number)
    return upstream[1] if upstream and status == "installed" else None


def _program(name):
    found = find(name)
    if found is None:
        return None
    asked = [found, "version" if name == "go" else "--version"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False)
    number = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
    return number[0] if number else ""


VERSIONS = {"pypi": _pypi, "npm": _npm, "debian": _debian, "": _program}
INSTALL = {
    "pypi": "pip install {}",
    "npm": "npm ci --prefix tests/interop",
    "debian": "apt-get install {}",
    "": "apt-get install {}",
}
PACKAGES = {
    "g++": "g++",
    "go": "golang-go",
    "java": "default-jdk-headless",
    "node": "nodejs npm",
}
"""The Debian package of each program."""


def advice(need):
    """Return how to install what is needed."""
    kind, _, name = need.rpartition(":")
    return INSTALL[kind].format(name if kind else PACKAGES[name])


def find(program):
    """Return a program's path, or None; Debian has some in /usr/sbin."""
    return shutil.which(program, path=os.environ["PATH"] + os.pathsep + "/usr/sbin")


def main():
    """Print the Debian packages that are missing."""
    from tests.interop.rows import ROWS  # which needs this module

    rows = [row for row in ROWS if row.quick or "--all" in sys.argv[1:]]
    needs = dict.fromkeys(need for row in rows for need in row.needs)
    missing = [need for need in needs if version(need) is None]
    print(*(PACKAGES.get(need, "") or need.partition("debian:")[2] for need in missing))


if __name__ == "__main__":
    main()

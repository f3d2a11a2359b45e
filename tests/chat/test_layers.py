"""How the chat is built: imports point one way, and it needs nothing but `ws`."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.support import ROOT

LAYERS = [
    {"credits", "fields", "store", "cluster.workers"},
    {"protocol"},
    {"member", "uploads", "server", "cluster.redis_store"},
    {"room"},
    {"cluster.shared"},
    {"cli"},
    {"__main__", "chat"},
]
"""The modules; each imports from those above its line only."""
NEEDS_REDIS = {"cluster.redis_store", "cluster.shared"}


def imported(module):
    """Return the names of the modules of the chat that a module imports anywhere in it."""
    path = ROOT / "chat" / (module.replace(".", "/") + ".py")
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "chat":
            package = node.module.partition(".")[2]
            found |= (
                {package}
                if package not in ("", "cluster")
                else {f"{package}.{alias.name}".strip(".") for alias in node.names}
            )
    return found


@pytest.mark.parametrize("number", range(len(LAYERS)))
def test_imports_point_one_way(number):
    above = set().union(*LAYERS[:number])
    for module in LAYERS[number]:
        assert imported(module) <= above, module


def test_every_module_has_its_layer():
    paths = [path.relative_to(ROOT / "chat") for path in (ROOT / "chat").rglob("*.py")]
    names = {".".join(path.with_suffix("").parts) for path in paths if path.stem != "__init__"}
    assert names == set().union(*LAYERS)


def test_it_needs_the_standard_library_only():
    modules = [f"chat.{name}" for layer in LAYERS for name in layer - NEEDS_REDIS - {"chat"}]
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {', '.join(modules)}"
    # Isolated, and without the packages that are installed here.
    subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True)

"""Check the imports of tests and tools: no sys.path, no test from a test, one name a module."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Iterator

ROOT = Path(__file__).parent.parent
FOLDERS = ("tests", "conformance", "e2e", "bench", "chat", "examples")
MAY_EDIT_PATH = {
    "chat/chat.py": "it is started from anywhere, by its path",
    "bench/peers/__main__.py": "it serves with the ws/ of another checkout, to compare the two",
}
"""Files that may edit sys.path, and why."""


def faults(path: Path) -> Iterator[str]:
    """Yield what is wrong with a file's imports."""
    name = path.relative_to(ROOT).as_posix()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr == "path" and name not in MAY_EDIT_PATH:
            if isinstance(node.value, ast.Name) and node.value.id == "sys":
                yield f"{name}:{node.lineno}: uses sys.path"
        for module in imported(node):
            first = module.partition(".")[0]
            if any(part.startswith("test_") for part in module.split(".")):
                yield f"{name}:{node.lineno}: imports a test, {module}"
            if first not in FOLDERS and (path.parent / f"{first}.py").exists():
                yield f"{name}:{node.lineno}: imports {module} without the name of its package"


def imported(node: ast.AST) -> list[str]:
    """Return the modules, and what may be modules, that a node imports by an absolute name."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def main() -> int:
    """Print what is wrong; return the exit code."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    found = [fault for path in paths if "node_modules" not in path.parts for fault in faults(path)]
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""Check that ws/ needs only the standard library and itself, and stays within its size."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

LINE_BUDGET = 3820
"""Lines that ws/*.py may have in all, docstrings, comments and blank lines included."""

OPTIONAL = {"numpy", "zlib_ng"}
"""What may be imported where it is installed: faster drop-ins, see the extra `fast`."""

EXTRAS = {"backplane.py": {"redis"}}
"""What single modules need, that nothing else imports: see the extra of that name."""

WS = Path(__file__).parent.parent / "ws"


def foreign_imports(path: Path) -> list[str]:
    """Return what the module imports from elsewhere than the standard library and ws."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [] if node.level == 1 else [node.module or "."]
        else:
            continue
        allowed = sys.stdlib_module_names | OPTIONAL | EXTRAS.get(path.name, set()) | {"ws"}
        for name in names:
            if name.partition(".")[0] not in allowed:
                found.append(f"{path.relative_to(WS.parent)}:{node.lineno}: imports {name}")
    return found


def main() -> int:
    """Print what is wrong; return the exit code."""
    paths = sorted(WS.rglob("*.py"))
    faults = [fault for path in paths for fault in foreign_imports(path)]
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)
    if lines > LINE_BUDGET:
        faults.append(f"ws/ has {lines} lines, its budget is {LINE_BUDGET}")
    print(*faults, sep="\n", end="\n" if faults else "")
    print(f"ws/: {len(paths)} modules, {lines} of {LINE_BUDGET} lines, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

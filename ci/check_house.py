"""Check the rules that ws/ is built by: what imports what, and how much code there is.

What is allowed stands in the tables at the top. ``--imports`` prints what imports what at present,
in the form of MAY_IMPORT.
"""

from __future__ import annotations

import argparse
import ast
import io
import sys
import tokenize
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Iterable, Iterator, Mapping

from graphlib import CycleError, TopologicalSorter

ROOT = Path(__file__).parent.parent
PACKAGE = "ws"

FLOORS = {
    "wire": 1350,
    "engine": 3000,
    "face": 1240,
    "terminal": 110,
    "client": 550,
    "wsgi": 200,
    "redis": 340,
}
"""Lines of code that each may have: without blank lines, comments and docstrings."""
FLOOR_OF = {
    "__main__": "terminal",
    "client": "client",
    "session": "client",
    "connect": "client",
    "tunnel": "client",
    "wsgi": "wsgi",
    "redis": "redis",
}
"""Modules that are a floor by themselves. Others belong to their folder, or to the face."""
DOWN = {"face": 2, "terminal": 2, "client": 2, "wsgi": 2, "redis": 2, "engine": 1, "wire": 0}
"""The level of each floor: imports may not go up."""
MODULE_BUDGETS = {"server": 450}
"""Lines of code that single modules may have."""

LONGEST_FILE = 400
"""Lines of anything that a source file may have without a reason."""
REASON = "Over 400 lines, because"
"""How the reason begins, in one of the first lines of a longer file."""
REASON_WITHIN_LINES = 30
SOURCES = ("*.py", "*.c", "*.js", "*.css", "*.html")
NOT_OURS = {"node_modules", "build", "dist", "reports", "reports-league", "results"}
"""Folders to leave out, as well as those whose name begins with a dot."""

OPTIONAL = {"numpy", "zlib_ng"}
"""Packages that any module may import if they are installed: see the extra `fast`."""
EXTRAS = {"redis": {"redis"}}
"""Other packages that single modules need: see the extra of that name."""

MAY_IMPORT: dict[str, str] = {
    "wire": "",
    "wire.events": "",
    "wire.frames": "",
    "wire.deflate": "wire.frames",
    "wire.message": "wire.deflate wire.frames",
    "wire.http11": "",
    "wire.handshake": "wire.http11",
    "wire.proxy": "",
    "wire.partial": "wire.frames",
    "wire.protocol": "wire.deflate wire.events wire.frames wire.partial",
    "wire.opening": "wire.deflate wire.handshake wire.http11",
    "engine": "",
    "engine.machine": "",
    "engine.limits": "engine.machine",
    "engine.log": "",
    "engine.malloc": "",
    "engine.poll": "",
    "engine.timers": "",
    "engine.daemon": "",
    "engine.shares": "",
    "engine.loop": "engine.log engine.poll engine.shares engine.timers wire.events",
    "engine.cork": "engine.loop",
    "engine.sockets": "wire.http11",
    "engine.budget": "engine.loop engine.shares",
    "engine.overload": "engine.budget engine.limits engine.loop engine.malloc engine.shares",
    "engine.backlog": "engine.budget wire.frames wire.message",
    "engine.writer": (
        "engine.backlog engine.budget engine.cork engine.loop engine.poll engine.sockets "
        "wire.frames"
    ),
    "engine.outbox": (
        "engine.backlog engine.budget engine.cork engine.loop engine.overload engine.sockets "
        "engine.writer wire.deflate wire.frames wire.message"
    ),
    "engine.connection": (
        "engine.backlog engine.budget engine.cork engine.limits engine.log engine.loop "
        "engine.outbox engine.overload engine.poll engine.sockets wire.deflate wire.events "
        "wire.frames wire.http11 wire.message wire.protocol"
    ),
    "engine.listen": (
        "engine.connection engine.loop engine.poll engine.shares engine.sockets wire.events "
        "wire.proxy"
    ),
    "engine.clocks": "",
    "engine.job": "engine.clocks engine.shares",
    "engine.workers": "engine.daemon engine.job engine.log engine.loop engine.shares wire.events",
    "engine.monitor": "engine.clocks engine.daemon engine.log engine.loop engine.workers",
    "engine.threads": (
        "engine.clocks engine.cork engine.log engine.loop engine.monitor engine.poll "
        "engine.shares engine.workers wire.events"
    ),
    "engine.client": (
        "engine.connection engine.loop engine.poll engine.shares engine.threads wire.deflate "
        "wire.events wire.protocol"
    ),
    "engine.dial": "engine.client engine.daemon engine.poll engine.sockets wire.opening",
    "engine.shared": "engine.cork engine.daemon engine.loop engine.threads",
    "auth": "wire.http11",
    "bind": "",
    "signals": "",
    "backplane": "wire.message",
    "rooms": "engine.connection engine.sockets",
    "descriptors": "",
    "admission": (
        "descriptors engine.connection engine.limits engine.overload engine.shares "
        "wire.handshake wire.http11 wire.proxy"
    ),
    "metrics": "admission engine.connection engine.sockets",
    "lifecycle": "engine.log engine.loop",
    "service": (
        "admission descriptors engine.connection engine.limits engine.listen engine.log "
        "engine.loop engine.overload engine.sockets engine.threads lifecycle metrics rooms "
        "wire.deflate wire.frames wire.handshake wire.http11"
    ),
    "server": (
        "admission backplane bind engine.connection engine.limits engine.log "
        "engine.malloc engine.overload engine.sockets lifecycle rooms service signals "
        "wire.deflate wire.frames wire.http11 wire.message wire.proxy wsgi"
    ),
    "wsgi": "engine.log engine.loop engine.poll engine.sockets service wire.http11",
    "redis": "backplane engine.log",
    "tunnel": "engine.dial wire.opening",
    "connect": "engine.dial engine.sockets tunnel wire.deflate wire.opening",
    "session": (
        "connect engine engine.client engine.connection engine.limits engine.log engine.loop "
        "engine.overload engine.shared engine.sockets wire.frames wire.http11 wire.opening"
    ),
    "client": (
        "connect engine.client engine.limits engine.malloc session signals tunnel wire.deflate "
        "wire.frames wire.http11 wire.message wire.opening"
    ),
    "ws": "auth client engine.limits engine.sockets server wire.deflate wire.http11 wire.opening",
    "__main__": "ws",
}
"""Which modules of ws/ each module may import."""

MAY_REACH: dict[tuple[str, str], str] = {
    ("engine.listen", "self._sock._accept"): "accept() would make a socket object only to drop it",
    ("wsgi", "raw._sock"): "the stream that the socket is in has no public name for it",
    ("wsgi", "sock._io_refs"): "Windows: files above the socket count on it",
    ("lifecycle", "lock._is_owned"): "an RLock has no public way to ask; Condition asks so, too",
}
"""The module, the private attribute of another object as it is written there, and the reason."""


@dataclass(frozen=True)
class Module:
    """A module of the package: ``engine.loop`` for ws/engine/loop.py, ``ws`` for ws/__init__.py."""

    name: str
    source: str
    is_package: bool = False

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def floor(self) -> str:
        folder = self.name if self.is_package else self.name.rpartition(".")[0]
        return FLOOR_OF.get(self.name, folder if folder in FLOORS else "face")

    @cached_property
    def code_lines(self) -> int:
        """The number of lines without blank ones, comments, docstrings."""
        ignored = {
            *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE),
            *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
        }
        lines: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(self.source).readline):
            if token.type not in ignored:
                lines.update(range(token.start[0], token.end[0] + 1))
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                if isinstance(node.value.value, str):
                    lines.difference_update(range(node.lineno, (node.end_lineno or 0) + 1))
        return len(lines)

    def imports(self, modules: Iterable[str]) -> Iterator[tuple[int, str, bool]]:
        """Yield each import: its line, the module's name, and whether it is one of ours.

        Args:
            modules: The names of ours, by which ``from .wire import frames`` is told from a
                name in a module.
        """
        known = set(modules)
        parts = [] if self.name == PACKAGE else self.name.split(".")
        folder = parts if self.is_package else parts[:-1]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    name, ours = _of_package(alias.name)
                    yield node.lineno, name, ours
            elif isinstance(node, ast.ImportFrom):
                if node.level:
                    at = [PACKAGE, *folder[: len(folder) + 1 - node.level]]
                    base = ".".join([*at, *([node.module] if node.module else [])])
                else:
                    base = node.module or ""
                for alias in node.names:
                    whole, ours = _of_package(f"{base}.{alias.name}")
                    if ours and whole not in known:
                        whole, _ = _of_package(base)
                    yield node.lineno, whole if ours else base, ours

    def reaches(self) -> Iterator[tuple[int, str]]:
        """Yield where it uses a private name of another object or module: line and text."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute) and _is_private(node.attr):
                if not _is_own(node.value):
                    yield node.lineno, ast.unparse(node)
            elif isinstance(node, ast.ImportFrom) and (node.level or node.module != "__future__"):
                for alias in node.names:
                    if _is_private(alias.name):
                        yield node.lineno, f"import {alias.name}"


def _of_package(name: str) -> tuple[str, bool]:
    """Return the name within the package, and whether it is of the package at all."""
    if name == PACKAGE:
        return PACKAGE, True
    first, _, rest = name.partition(".")
    return (rest, True) if first == PACKAGE else (name, False)


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def _is_own(value: ast.expr) -> bool:
    """Say whether an object is the method's own: self, cls, or super()."""
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        return value.func.id == "super"
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


def find(folder: Path) -> list[Module]:
    """Return the modules of a package, in order."""
    modules = []
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts) or PACKAGE
        modules.append(Module(name, path.read_text(encoding="utf-8"), is_package))
    return modules


def check_imports(modules: list[Module], allowed: Mapping[str, str]) -> Iterator[str]:
    """Yield what is imported and shouldn't be, and what is wrong with the table itself."""
    floors = {module.name: module.floor for module in modules}
    graph = {name: names.split() for name, names in allowed.items()}
    yield from (f"MAY_IMPORT lacks {name}" for name in floors if name not in graph)
    for name, others in graph.items():
        for other in (name, *others):
            if other not in floors:
                yield f"MAY_IMPORT has {other} (at {name}), which doesn't exist"
        for other in others:
            if {name, other} <= floors.keys() and DOWN[floors[other]] > DOWN[floors[name]]:
                yield f"MAY_IMPORT lets {name} import {other}, which is a floor above it"
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"MAY_IMPORT has a circle: {' > '.join(error.args[1])}"
    for module in modules:
        foreign = sys.stdlib_module_names | OPTIONAL | EXTRAS.get(module.name, set())
        for line, name, ours in module.imports(floors):
            permitted = graph.get(module.name, [name]) if ours else foreign
            if (name if ours else name.partition(".")[0]) not in permitted:
                yield f"{module.name}:{line}: imports {name}"


def check_reaches(modules: list[Module], allowed: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """Yield who uses another's private names, and which permission isn't used."""
    unused = set(allowed)
    for module in modules:
        for line, text in module.reaches():
            unused.discard((module.name, text))
            if (module.name, text) not in allowed:
                yield f"{module.name}:{line}: reaches into another's {text}"
    yield from (f"MAY_REACH has {name}: {text}, which isn't there" for name, text in unused)


def check_size(modules: list[Module]) -> Iterator[str]:
    """Yield what has more lines of code than its budget."""
    for name, lines, budget in sizes(modules):
        if budget is not None and lines > budget:
            yield f"{name.strip()}: {lines} lines of code, {budget} are allowed"


def sizes(modules: list[Module]) -> Iterator[tuple[str, int, int | None]]:
    """Yield each floor and then its modules: name, lines of code, and the budget, if any."""
    for floor, budget in FLOORS.items():
        found = [module for module in modules if module.floor == floor]
        if found:
            yield floor, sum(module.code_lines for module in found), budget
        for module in found:
            yield f"  {module.name}", module.code_lines, MODULE_BUDGETS.get(module.name)


def check_files(root: Path) -> Iterator[str]:
    """Yield the source files that are too long, and don't say why."""
    for pattern in SOURCES:
        for path in sorted(root.rglob(pattern)):
            folders = path.relative_to(root).parts[:-1]
            if any(name.startswith(".") or name in NOT_OURS for name in folders):
                continue
            lines = path.read_text(encoding="utf-8").splitlines()
            head = "\n".join(lines[:REASON_WITHIN_LINES])
            if len(lines) > LONGEST_FILE and REASON not in head:
                where = path.relative_to(root)
                yield f"{where}: {len(lines)} lines, and no reason ({REASON!r} in its head)"


def imports_now(modules: list[Module]) -> str:
    """Return what imports what, as MAY_IMPORT has it."""
    names = [module.name for module in modules]
    lines = []
    for module in modules:
        found = {name for _, name, ours in module.imports(names) if ours and name != module.name}
        lines.append(f'    "{module.name}": "{" ".join(sorted(found))}",')
    return "\n".join(["{", *lines, "}"])


def main() -> int:
    """Print the sizes and what is wrong; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--imports", action="store_true", help="print what imports what")
    parser.add_argument("--root", type=Path, default=ROOT, help="of the checkout to look at")
    arguments = parser.parse_args()
    modules = find(arguments.root / PACKAGE)
    if arguments.imports:
        print(imports_now(modules))
        return 0
    faults = [
        *check_imports(modules, MAY_IMPORT),
        *check_reaches(modules, MAY_REACH),
        *check_size(modules),
        *check_files(arguments.root),
    ]
    for name, lines, budget in sizes(modules):
        print(f"{name:24}{lines:>6}" + (f" of {budget:>5,}" if budget is not None else ""))
    print(*faults, sep="\n", end="\n" if faults else "")
    print(f"{len(modules)} modules, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

"""Marks of defences in sources, and sources without a defence.

A mark is the end of a comment, `# defence: NAME`, on a line of a statement or on a line of its own
before it. In a compound statement it stands in the head. It can also stand at a part of a
condition that has a line of its own. What a statement becomes without its defence depends on its
kind:

    if, elif, while         the condition becomes False
    a part of a condition   becomes True between "and", False between "or"
    with                    becomes "if True:"
    except                  catches nothing
    NAME = NUMBER           the number becomes an enormous one
    any other               becomes "pass"

Where that doesn't fit, a replacement is given: of the condition, of what a `for` runs over, of the
value that is assigned or returned, and otherwise of the statement. "{}" in it is the original.
"""

from __future__ import annotations

import ast
import builtins
import io
import itertools
import re
import tokenize
from dataclasses import dataclass
from typing import Iterator, Tuple

MARK = re.compile(r"\bdefence: ([a-z0-9-]+)\s*$")
ENORMOUS = "10**9"
METHODS = {name for kind in (bytes, dict, list, set, str) for name in dir(kind)}

Span = Tuple[int, int]
"""Where something starts and ends in a source, in bytes of UTF-8."""


class MarkError(Exception):
    """A mark stands where it can't, or a replacement doesn't fit: one sentence."""


@dataclass(frozen=True)
class Marked:
    """What a mark stands at.

    Attributes:
        source: All of the module.
        line: The number of the statement's first line.
        statement: What is marked: a simple statement, the head of another, a part of a condition.
        default: What takes the place of *weakened* if no replacement is given; None if one must be.
        weakened: The part of the statement that its kind says, for *default*.
        replaced: The part of the statement that a replacement is for.
    """

    source: bytes
    line: int
    statement: Span
    default: str | None
    weakened: Span
    replaced: Span

    def text(self, span: Span) -> str:
        """Return a part of the source."""
        return self.source[slice(*span)].decode()

    def without(self, replacement: str | None = None) -> str:
        """Return the source without the defence."""
        if replacement is not None:
            return self._changed(self.replaced, replacement.replace("{}", self.text(self.replaced)))
        if self.default is None:
            raise MarkError(f"line {self.line}: a replacement must be given")
        return self._changed(self.weakened, self.default)

    def _changed(self, span: Span, text: str) -> str:
        start, end = span
        changed = self.source[:start] + text.encode() + self.source[end:]
        compile(changed, f"line {self.line} changed to {text}", "exec")
        return changed.decode()

    def unknown(self, replacement: str) -> set[str]:
        """Return names in a replacement that the statement lacks: they have changed, probably."""
        known = set(re.findall(r"\w+", self.text(self.statement))) | set(dir(builtins))
        body = replacement.replace("{}", "None")
        names = set()
        for node in ast.walk(ast.parse(f"while True:\n    {body}")):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                known.add(node.id)
            elif isinstance(node, ast.Name):
                names.add(node.id)
            elif isinstance(node, ast.Attribute) and node.attr not in METHODS:
                names.add(node.attr)
        return names - known


def find(source: str) -> dict[str, Marked]:
    """Return what is marked in a source, by name.

    Raises:
        MarkError: A mark stands at nothing, or two have the same name.
    """
    found: dict[str, Marked] = {}
    candidates = list(_Candidates(source).of(ast.parse(source)))
    for name, line in _marks(source):
        here = [(last - first, -number) for number, (first, last, _) in enumerate(candidates)
                if first <= line <= last]  # fmt: skip
        if not here:
            raise MarkError(f"line {line}: nothing that can be marked, for {name}")
        if name in found:
            raise MarkError(f"line {line}: {name} is marked twice")
        found[name] = candidates[-min(here)[1]][2]
    return found


def _marks(source: str) -> Iterator[tuple[str, int]]:
    """Yield each mark's name, and a line of what it marks."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    for number, token in enumerate(tokens):
        match = MARK.search(token.string) if token.type == tokenize.COMMENT else None
        if match and token.line.lstrip().startswith("#"):  # a line of its own
            blank = (tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT)
            line = next(t.start[0] for t in tokens[number:] if t.type not in blank)
            yield match.group(1), line
        elif match:
            yield match.group(1), token.start[0]


class _Candidates:
    """All that can be marked in a source: (first line, last line, what it is)."""

    def __init__(self, source: str) -> None:
        self._source = source.encode()
        lines = self._source.split(b"\n")  # as the parser counts them
        self._starts = [0, *itertools.accumulate(len(line) + 1 for line in lines)]

    def of(self, tree: ast.AST) -> Iterator[tuple[int, int, Marked]]:
        """Yield them, an outer one before those in it."""
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Try)):
                continue
            if isinstance(node, (ast.stmt, ast.ExceptHandler)):
                last = node.end_lineno or node.lineno
                if body:
                    last = max(node.lineno, body[0].lineno - 1)
                yield node.lineno, last, self._marked(node)
            condition = getattr(node, "test", None)
            if isinstance(node, (ast.If, ast.While)) and isinstance(condition, ast.BoolOp):
                yield from self._parts(node, condition)

    def _parts(
        self, statement: ast.stmt, condition: ast.BoolOp
    ) -> Iterator[tuple[int, int, Marked]]:
        taken = [line for part in condition.values for line in _lines(part)] + [statement.lineno]
        for part in condition.values:
            if all(taken.count(line) == 1 for line in _lines(part)):
                neutral = "True" if isinstance(condition.op, ast.And) else "False"
                yield part.lineno, _lines(part)[-1], self._as(part, neutral, part, part)
            if isinstance(part, ast.BoolOp):
                yield from self._parts(statement, part)

    def _marked(self, node: ast.AST) -> Marked:
        if isinstance(node, (ast.If, ast.While)):
            return self._as(node, "False", node.test, node.test)
        if isinstance(node, ast.For):
            return self._as(node, None, node.iter, node.iter)
        if isinstance(node, ast.With):
            last = node.items[-1].optional_vars or node.items[-1].context_expr
            head = (self._span(node)[0], self._span(last)[1])
            return self._as(node, "if True", head, head)
        if isinstance(node, ast.ExceptHandler):
            return self._as(node, node.type and "()", node.type or node, node.type or node)
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and _is_number(node.value):
            return self._as(node, ENORMOUS, node.value, node.value)
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return)):
            return self._as(node, "pass", node, node.value or node)
        return self._as(node, "pass", node, node)

    def _as(
        self, node: ast.AST, default: str | None, weakened: ast.AST | Span, replaced: ast.AST | Span
    ) -> Marked:
        spans = (self._span(part) if isinstance(part, ast.AST) else part
                 for part in (node, weakened, replaced))  # fmt: skip
        (start, end), weakened, replaced = spans
        if getattr(node, "body", None):
            end = self._span(node.body[0])[0]
        return Marked(self._source, node.lineno, (start, end), default, weakened, replaced)

    def _span(self, node: ast.AST) -> Span:
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset


def _lines(node: ast.expr) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _is_number(node: ast.expr | None) -> bool:
    """Say whether an expression is made of nothing but numbers."""
    number = (ast.operator, ast.unaryop, ast.BinOp, ast.UnaryOp)
    return node is not None and all(
        type(part.value) in (int, float) if isinstance(part, ast.Constant)
        else isinstance(part, number)
        for part in ast.walk(node)
    )  # fmt: skip

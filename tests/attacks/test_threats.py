"""docs/threats.md, the tests that it names, and the defences: each has to know of the others."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.attacks import defences

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent
THREATS = (TESTS.parent / "docs" / "threats.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`([\w/]+\.py::\w+)`", THREATS))


def ids_in(path):
    """Return the ids of a file's tests, as the table gives them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    parent = "" if path.parent == HERE else f"{path.parent.name}/"
    return {f"{parent}{path.name}::{name}" for name in names if name.startswith("test_")}


def test_each_test_that_is_named_exists():
    files = [
        *HERE.glob("test_*.py"),
        *TESTS.glob("live/test_*.py"),
        TESTS / "unit" / "test_model.py",
    ]
    assert set().union(*map(ids_in, files)) >= NAMED


def test_each_attack_is_named():
    here = set().union(*map(ids_in, HERE.glob("test_*.py")))
    assert here - ids_in(Path(__file__)) <= NAMED


def test_each_has_a_defence_that_can_be_taken_out():
    assert {test.partition("[")[0] for test, *_ in defences.DEFENCES} == NAMED


def test_each_defence_is_still_what_is_taken_out():
    for _, *mutations in defences.DEFENCES:
        for module, text, replacement in mutations:
            source = (TESTS.parent / "ws" / f"{module}.py").read_text(encoding="utf-8")
            assert source.count(text) == 1, f"ws/{module}.py: {text}"
            assert replacement != text

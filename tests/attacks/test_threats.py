"""docs/threats.md, the tests that it names, and the defences agree."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.attacks import defences
from tests.attacks.crowds.table import BY_NAME

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent
THREATS = (TESTS.parent / "docs" / "threats.md").read_text(encoding="utf-8")
PARTS = ("live", "chat", "cluster", "unit")
ABOUT_OURSELVES = [HERE / f"test_{name}.py" for name in ("account", "marks", "threats")]
NAMED = set(re.findall(r"`([\w/]+\.py::\w+)(?:\[[\w-]+\])?`", THREATS))
ATTACKING = {name for name, crowd in BY_NAME.items() if crowd.floods}


def ids_in(path):
    """Return the ids of a file's tests, as the table gives them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    parent = "" if path.parent == HERE else f"{path.parent.name}/"
    return {f"{parent}{path.name}::{name}" for name in names if name.startswith("test_")}


def test_each_test_that_is_named_exists():
    files = [
        *HERE.glob("test_*.py"),
        *(path for part in PARTS for path in TESTS.glob(f"{part}/test_*.py")),
    ]
    assert set().union(*map(ids_in, files)) >= NAMED


def test_each_attack_is_named():
    here = set().union(*map(ids_in, HERE.glob("test_*.py")))
    assert here - set().union(*map(ids_in, ABOUT_OURSELVES)) <= NAMED


def test_each_crowd_is_named():
    assert set(re.findall(r"::test_crowd\[([\w-]+)\]", THREATS)) == ATTACKING


def test_each_has_a_defence_that_can_be_taken_out():
    assert {test.partition("[")[0] for test, *_ in defences.TESTS} == NAMED


@pytest.fixture(scope="module")
def marked():
    return defences.marked()


def test_each_defence_is_marked_once_and_taken_out_for_a_test(marked):
    taken = {name for _, *taken in defences.TESTS for name, _ in defences.weakenings(taken)}
    assert taken == set(defences.DEFENCES)
    assert taken == set(marked)


@pytest.mark.parametrize("test, taken", [(test, taken) for test, *taken in defences.TESTS])
def test_each_defence_can_be_taken_out(marked, test, taken):
    for name, replacement in defences.weakenings(taken):
        path, what = marked[name]
        unknown = what.unknown(replacement or "pass")
        assert not unknown, f"{path.name}: {name} has a replacement with names of old"
        assert what.without(replacement) != path.read_text(encoding="utf-8")

"""How marked defences are found in a source, and taken out of it."""

from __future__ import annotations

import textwrap

import pytest

from tests.attacks.marks import MarkError, find
from tests.support.tables import table


def without(source, name="x", replacement=None):
    return find(source)[name].without(replacement)


@table(
    "source, weaker",
    ("if", "if a > b:  # defence: x\n    c()\n", "if False:  # defence: x\n    c()\n"),
    (
        "elif",
        "if a:\n    b\nelif c:  # defence: x\n    d\n",
        "if a:\n    b\nelif False:  # defence: x\n    d\n",
    ),
    ("while", "while a:  # defence: x\n    b\n", "while False:  # defence: x\n    b\n"),
    ("with", "with a.b:  # defence: x\n    c\n", "if True:  # defence: x\n    c\n"),
    ("as", "with a as b, c as d:  # defence: x\n    c\n", "if True:  # defence: x\n    c\n"),
    (
        "except",
        "try:\n    a\nexcept OSError as e:  # defence: x\n    b\n",
        "try:\n    a\nexcept () as e:  # defence: x\n    b\n",
    ),
    ("a number", "A = 1 << 14  # defence: x\n", "A = 10**9  # defence: x\n"),
    ("with its type", "a: float = -2.5  # defence: x\n", "a: float = 10**9  # defence: x\n"),
    ("no number", "a = b  # defence: x\n", "pass  # defence: x\n"),
    ("nor a truth value", "a = True  # defence: x\n", "pass  # defence: x\n"),
    ("an addition", "a += 1  # defence: x\n", "pass  # defence: x\n"),
    ("a call", "a(b)  # defence: x\n", "pass  # defence: x\n"),
    ("in several lines", "a(\n    b,  # defence: x\n)\n", "pass\n"),
    ("after its last line", "a(\n    b,\n)  # defence: x\n", "pass  # defence: x\n"),
    ("not ASCII", "a('ü', 'é')  # defence: x\n", "pass  # defence: x\n"),
    ("a mark before it", "# defence: x\na()\nb()\n", "# defence: x\npass\nb()\n"),
    (
        "and a comment",
        "if a:\n    # defence: x\n    # why\n    b()\n",
        "if a:\n    # defence: x\n    # why\n    pass\n",
    ),
    ("a comment's end", "a()  # why (§5); defence: x\n", "pass  # why (§5); defence: x\n"),
    (
        "a part of a condition",
        "if (\n    a\n    and b > c  # defence: x\n):\n    d\n",
        "if (\n    a\n    and True  # defence: x\n):\n    d\n",
    ),
    (
        "or of it",
        "if (\n    a\n    or b  # defence: x\n):\n    d\n",
        "if (\n    a\n    or False  # defence: x\n):\n    d\n",
    ),
    (
        "a line with two parts",
        "if (\n    a and b  # defence: x\n):\n    d\n",
        "if (\n    False  # defence: x\n):\n    d\n",
    ),
    (
        "a condition's first line",
        "if a and (  # defence: x\n    b or\n    c\n):\n    d\n",
        "if False:\n    d\n",
    ),
)
def test_what_becomes_of(source, weaker):
    assert without(source) == weaker


@table(
    "source, replacement, weaker",
    ("a condition", "if a > b:  # defence: x\n    c\n", "True", "if True:"),
    ("the original", "if a > b:  # defence: x\n    c\n", "({}) and a", "if (a > b) and a:"),
    ("a loop", "for a in reversed(b):  # defence: x\n    c\n", "b", "for a in b:"),
    ("a value", "a = f(b, 1)  # defence: x\n", "f(b)", "a = f(b)"),
    ("a value added", "a |= b  # defence: x\n", "1", "a |= 1"),
    ("a number", "a = 1  # defence: x\n", "2", "a = 2"),
    ("what is returned", "def f():\n    return a  # defence: x\n", "1", "return 1"),
    ("a statement", "a(b)  # defence: x\n", "a(2)", "a(2)"),
    ("a return", "def f():\n    return  # defence: x\n", "pass", "pass"),
)
def test_replacing(source, replacement, weaker):
    lines = without(source, replacement=replacement).splitlines()
    assert weaker in [line.partition("#")[0].strip() for line in lines]


def test_marks_in_a_function_of_many_statements():
    source = textwrap.dedent(
        """
        class A:
            def b(self):
                '''Text with # defence: nothing in it.'''
                with self.lock:  # defence: lock
                    if self.x:  # defence: check
                        return self.y  # defence: result
                return 1
        """
    )
    marked = find(source)
    assert set(marked) == {"lock", "check", "result"}
    assert marked["check"].without().splitlines()[5] == "            if False:  # defence: check"
    assert marked["result"].text(marked["result"].statement) == "return self.y"


@table(
    "source, complaint",
    ("a name twice", "a()  # defence: x\nb()  # defence: x\n", "twice"),
    ("a function", "def f():  # defence: x\n    pass\n", "nothing"),
    ("nothing", "try:  # defence: x\n    a\nfinally:\n    b\n", "nothing"),
)
def test_marks_that_make_no_sense(source, complaint):
    with pytest.raises(MarkError, match=complaint):
        find(source)


def test_a_loop_needs_a_replacement():
    with pytest.raises(MarkError, match="replacement"):
        without("for a in b:  # defence: x\n    c\n")


def test_a_replacement_must_be_python():
    with pytest.raises(SyntaxError):
        without("if a:  # defence: x\n    b\n", replacement="a b")


@table(
    "replacement, unknown",
    ("names of the statement", "self.send(now + 1)", set()),
    ("another", "self.sent(then)", {"sent", "then"}),
    ("built-in ones", "len(self.send.pop(None))", set()),
    ("those of a comprehension", "[a for a in now]", set()),
    ("none", "continue", set()),
    ("the original", "{} + 1", set()),
)
def test_names_of_old_in_a_replacement(replacement, unknown):
    marked = find("self.send(now)  # defence: x\n")["x"]
    assert marked.unknown(replacement) == unknown


def test_a_body_is_no_part_of_a_marked_head():
    marked = find("if now:  # defence: x\n    then()\n")["x"]
    assert marked.unknown("then") == {"then"}

"""ci/check_house.py finds what breaks the rules that ws/ is built by."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from ci import check_house as house
from ci.check_house import Module


def module(name: str, source: str = "", is_package: bool = False) -> Module:
    return Module(name, textwrap.dedent(source), is_package)


MODULES = [module("wire.frames"), module("engine.loop"), module("server")]
TABLE = {"wire.frames": "", "engine.loop": "wire.frames", "server": "engine.loop wire.frames"}


def faults(name: str, source: str, table: dict[str, str] = TABLE) -> list[str]:
    others = [each for each in MODULES if each.name != name]
    return list(house.check_imports([*others, module(name, source)], table))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("engine.loop", "import select\nfrom ..wire.frames import PING"),
        ("engine.loop", "from ..wire import frames"),
        ("server", "from ws.engine.loop import Loop\nimport ws.wire.frames"),
        ("wire.frames", "try:\n    import numpy\nexcept ImportError:\n    pass"),
    ],
)
def test_what_is_in_the_table_may_be_imported(name, source):
    assert faults(name, source) == []


@pytest.mark.parametrize(
    ("name", "source", "imported"),
    [
        ("wire.frames", "from ..engine.loop import Loop", "engine.loop"),
        ("wire.frames", "from ..engine import loop", "engine.loop"),
        ("wire.frames", "def f():\n    from .. import server", "server"),
        ("engine.loop", "import ws.server", "server"),
        ("server", "from redis import Redis", "redis"),
        ("server", "import requests.sessions", "requests.sessions"),
    ],
)
def test_what_is_not_in_the_table_may_not(name, source, imported):
    (fault,) = faults(name, source)
    assert fault.endswith(f"imports {imported}")
    assert fault.startswith(f"{name}:")


def test_only_one_module_needs_redis():
    table = {**TABLE, "redis": ""}
    assert list(house.check_imports([*MODULES, module("redis", "import redis")], table)) == []


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ({**TABLE, "wire.frames": "server"}, "lets wire.frames import server"),
        ({**TABLE, "wire.frames": "server"}, "has a circle: "),
        ({**TABLE, "server": "rooms"}, "has rooms (at server), which doesn't exist"),
        ({**TABLE, "rooms": ""}, "has rooms (at rooms), which doesn't exist"),
        ({"server": "", "engine.loop": ""}, "lacks wire.frames"),
    ],
)
def test_the_table_itself_is_checked(table, fault):
    assert any(fault in found for found in house.check_imports(MODULES, table))


def test_a_module_may_use_its_own_private_names_only():
    mine = """
    from __future__ import annotations
    class Room:
        def enter(self):
            self._inside = super()._inside = cls._inside = self.__dict__
            self.door._lock()
            return len(other._inside)
    """
    found = list(house.check_reaches([module("rooms", mine)], {}))
    assert found == [
        "rooms:6: reaches into another's self.door._lock",
        "rooms:7: reaches into another's other._inside",
    ]


def test_a_private_name_may_not_be_imported():
    found = list(house.check_reaches([module("rooms", "from .server import _key")], {}))
    assert found == ["rooms:1: reaches into another's import _key"]


def test_a_permission_counts_where_it_is_given_and_must_be_used():
    reaching = [module("engine.listen", "sock._accept()")]
    permission = {("engine.listen", "sock._accept"): "saves a socket object for each client"}
    assert list(house.check_reaches(reaching, permission)) == []
    (fault,) = house.check_reaches([module("engine.listen")], permission)
    assert "which isn't there" in fault


def test_lines_of_code_are_those_that_run():
    source = '''
    """A docstring

    of three lines."""

    import os  # a comment after code


    # a comment
    SIZE = 3
    """What it is."""


    def f(
        x,
    ):
        """What it does."""
        return """text
        of two lines"""
    '''
    assert module("server", source).code_lines == 7


def test_a_floor_and_a_module_have_budgets():
    code = "x = 1\n" * 500
    big = [module("server", code), module("rooms", code), module("wire.frames", code)]
    assert list(house.check_size(big)) == ["server: 500 lines of code, 450 are allowed"]
    assert list(house.check_size([*big, module("auth", code)])) == [
        f"face: 1500 lines of code, {house.FLOORS['face']} are allowed",
        "server: 500 lines of code, 450 are allowed",
    ]


def test_packages_and_modules_are_told_apart(tmp_path: Path):
    for name in ("__init__.py", "server.py", "redis.py", "wire/__init__.py", "wire/frames.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("from . import x\n")
    found = {each.name: each.floor for each in house.find(tmp_path)}
    assert found == {
        "ws": "face",
        "redis": "redis",
        "server": "face",
        "wire": "wire",
        "wire.frames": "wire",
    }


def test_a_long_file_says_why(tmp_path: Path):
    folders = ("", "node_modules", ".nox")
    for folder in folders:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "long.py").write_text("\n" * 401)
    (tmp_path / "reason.py").write_text(f'"""All.\n\n{house.REASON} …\n"""' + "\n" * 401)
    (fault,) = house.check_files(tmp_path)
    assert fault.startswith("long.py: 401 lines")


def test_it_runs_on_this_checkout(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["check_house"])
    house.main()
    table = capsys.readouterr().out
    assert re.search(r"^  server +\d+ of +450$", table, re.MULTILINE)
    assert re.search(r"^\d+ modules, \d+ faults$", table, re.MULTILINE)

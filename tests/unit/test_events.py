"""The table of event kinds: how each is treated, and that the table is complete."""

from __future__ import annotations

import pytest

from tests.support import ROOT
from ws.wire import events, frames
from ws.wire.events import BARRIER, URGENT, WATCHED

KINDS = {
    name: value
    for name, value in vars(events).items()
    if name.isupper()
    and isinstance(value, int)
    and name not in ("URGENT", "BARRIER", "WATCHED", "LAST_MESSAGE")
}


def test_each_kind_is_another():
    assert len(set(KINDS.values())) == len(KINDS) == 11


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_is_inline_or_a_barrier_or_neither(name):
    assert KINDS[name] & (URGENT | BARRIER) != URGENT | BARRIER
    assert KINDS[name] & BARRIER or not KINDS[name] & WATCHED


def test_messages_are_told_by_one_comparison():
    messages = {name for name, kind in KINDS.items() if kind <= events.LAST_MESSAGE}
    assert messages == {"TEXT", "BINARY"}


@pytest.mark.parametrize("name", ["TEXT", "BINARY", "PING", "PONG", "CLOSE"])
def test_what_a_frame_brings_has_the_number_of_its_opcode(name):
    assert KINDS[name] & ~(URGENT | BARRIER) == getattr(frames, name)


def test_the_table_has_all_kinds():
    rows = [line.split() for line in events.__doc__.splitlines() if line.startswith("    ")]
    assert [row[0] for row in rows[1:]] == list(KINDS)


def test_the_design_page_has_all_kinds_with_their_flags():
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    section = page.partition("\n## Events\n")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    found = {name.strip(" `"): row[3].strip() for row in rows for name in row[1].split(",")}
    flags = {"`URGENT`": URGENT, "`BARRIER`": BARRIER, "`WATCHED`": WATCHED}
    for name, kind in KINDS.items():
        assert found.pop(name) == ", ".join(text for text, flag in flags.items() if kind & flag)
    assert not found

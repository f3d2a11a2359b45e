"""Servers die, links break: nothing that was said gets lost, and nothing comes twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Dialog, expect

from e2e.conftest import Link, Serve, Visit
from e2e.files import file, png
from e2e.server import WAYS, Server, Way

pytestmark = pytest.mark.loses_server


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_killed_and_restarted(way: Way, serve: Serve, visit: Visit, tmp_path: Path) -> None:
    """SIGKILL in the middle of a conversation that goes on meanwhile."""
    server = serve(way, "--db", str(tmp_path / "chat.db"))
    ann, bob = visit(server, "Ann"), visit(server, "Bob")
    before = [f"before {number}" for number in range(4)]
    ann.say(*before)
    server.kill()
    for tab in (ann, bob):
        tab.is_lost()
    ann.say("anyone there?")
    bob.say("I am")
    expect(ann.sent("anyone there?")).to_have_count(0)
    server.start()
    for tab in (ann, bob):
        tab.is_connected()
    expect(ann.sent("anyone there?")).to_be_visible()
    expect(bob.sent("I am")).to_be_visible()
    order = ann.holds(*before, "anyone there?", "I am")
    assert [text for text in order if text != "I am"] == [*before, "anyone there?"]
    bob.reads(*order)
    ann.page.reload()
    ann.reads(*order)


def test_killed_without_a_database(server: Server, visit: Visit) -> None:
    """The server's history is gone; the conversation goes on."""
    ann, bob = visit(server, "Ann"), visit(server, "Bob")
    ann.say("before")
    expect(bob.message("before")).to_be_visible()
    server.kill()
    ann.is_lost()
    ann.say("meanwhile")
    server.start()
    for tab in (ann, bob):
        tab.is_connected()
        expect(tab.message("meanwhile")).to_have_count(1)
    bob.say("after")
    expect(ann.message("after")).to_have_count(1)


def test_shut_down(server: Server, visit: Visit) -> None:
    """A shutdown closes with 1001, which the page explains."""
    ann = visit(server, "Ann")
    server.stop()
    expect(ann.status).to_contain_text("The server is going away")
    server.start()
    ann.is_connected()
    ann.say("Here again.")
    expect(ann.sent("Here again.")).to_be_visible()


def test_cut(server: Server, link: Link, visit: Visit) -> None:
    """Clients whose link was cut get exactly the messages that they missed."""
    wire = link(server)
    ann, bob = visit(wire, "Ann"), visit(server, "Bob")
    bob.say("one")
    expect(ann.message("one")).to_be_visible()
    wire.cut()
    ann.is_lost()
    bob.say("two", "three")
    ann.say("four")
    wire.restore()
    ann.is_connected()
    for tab in (ann, bob):
        tab.reads("one", "two", "three", "four")


def test_acknowledgement_lost(server: Server, link: Link, visit: Visit) -> None:
    """The message arrived, the page can't know it, and sends it again: others see it once."""
    wire = link(server)
    ann, bob = visit(wire, "Ann"), visit(server, "Bob")
    wire.freeze(to_server=False)
    ann.say("Did you get this?")
    expect(bob.message("Did you get this?")).to_be_visible()
    expect(ann.sent("Did you get this?")).to_have_count(0)
    wire.cut()
    ann.is_lost()
    bob.say("I did.")
    wire.restore()
    expect(ann.sent("Did you get this?")).to_be_visible(timeout=15_000)
    for tab in (ann, bob):
        tab.reads("Did you get this?", "I did.")


def test_frozen_for_a_moment(server: Server, link: Link, visit: Visit) -> None:
    wire = link(server)
    ann, bob = visit(wire, "Ann"), visit(server, "Bob")
    wire.freeze()
    bob.say("one")
    ann.say("two")
    expect(ann.sent("two")).to_have_count(0)
    wire.restore()
    expect(ann.sent("two")).to_be_visible()
    for tab in (ann, bob):
        tab.reads("one", "two")


def test_frozen_for_good(server: Server, link: Link, visit: Visit) -> None:
    """No error ever comes; the page notices by itself, and tries anew."""
    wire = link(server)
    ann, bob = visit(wire, "Ann"), visit(server, "Bob")
    wire.freeze()
    bob.say("one")
    ann.say("two")
    ann.is_lost()
    wire.cut()
    wire.restore()
    ann.is_connected()
    for tab in (ann, bob):
        tab.reads("one", "two")


def test_a_frozen_tab_holds_nobody_up(server: Server, visit: Visit) -> None:
    ann, bob, cid = visit(server, "Ann"), visit(server, "Bob"), visit(server, "Cid")
    dialogs: list[Dialog] = []
    cid.page.on("dialog", lambda dialog: dialogs.append(dialog))
    cid.page.evaluate("setTimeout(() => alert('The page stands still until this is read.'))")
    said = []
    for number in range(4):
        ann.attach(file(f"{number}.png", png(600, 500, number), "image/png"))
        expect(bob.log.get_by_role("img", name=f"{number}.png")).to_be_visible()
        said += [f"nice {number}"]
        bob.say(said[-1])
        expect(ann.message(said[-1])).to_be_visible()
    assert dialogs
    dialogs[0].accept()
    expect(cid.log.get_by_role("img", name="3.png")).to_be_visible()
    assert cid.holds(*said) == said


def test_a_draft_survives(server: Server, visit: Visit) -> None:
    """What is being written isn't lost with the server."""
    ann = visit(server, "Ann")
    ann.composer.fill("I was just about to")
    server.kill()
    ann.is_lost()
    expect(ann.composer).to_have_value("I was just about to")
    expect(ann.composer).to_be_editable()
    server.start()
    ann.is_connected()
    ann.composer.press("Enter")
    expect(ann.sent("I was just about to")).to_be_visible()

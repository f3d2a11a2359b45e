"""People talk: messages, names, rooms, presence, history."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import expect

from e2e.conftest import Link, Serve, Visit
from e2e.robots import tell
from e2e.server import HTTP, WAYS, Server, Way

everywhere = pytest.mark.parametrize("way", WAYS, ids=str)

WORLD = "שלום עולם · مرحبا · 你好 · 👩‍👩‍👧 🏳️‍🌈 · e\u0301"


@everywhere
def test_two_tabs_talk(way: Way, serve: Serve, visit: Visit) -> None:
    """Both the sender and the other one see each message."""
    server = serve(way)
    ann, bob = visit(server, "Ann"), visit(server, "Bob")
    ann.say("Hello, who is there?")
    bob.say("Me", WORLD, "two\nlines")
    said = ["Hello, who is there?", "Me", WORLD, "two\nlines"]
    for tab in (ann, bob):
        tab.reads(*said)
        expect(tab.message("Hello")).to_contain_text("Ann")
    expect(ann.sent("Hello")).to_be_visible()
    expect(bob.sent("Hello")).to_have_count(0)


@everywhere
def test_tabs_of_one_browser_talk(way: Way, serve: Serve, visit: Visit) -> None:
    """They share the browser's storage, and are two clients nevertheless."""
    server = serve(way)
    left = visit(server)
    right = visit(server, beside=left)
    left.say("from the left")
    right.say("from the right")
    for tab in (left, right):
        tab.reads("from the left", "from the right")
    expect(left.sent("from the left")).to_be_visible()
    expect(right.sent("from the right")).to_be_visible()


@pytest.mark.timeout(300)
def test_twenty_tabs(server: Server, visit: Visit) -> None:
    first = visit(server)
    tabs = [first] + [visit(server, beside=first) for _ in range(19)]
    for number, tab in enumerate(tabs):
        tab.say(f"This is tab {number:02}.")
    said = [f"This is tab {number:02}." for number in range(20)]
    orders = [tab.holds(*said) for tab in tabs]
    assert orders == [orders[0]] * 20


def test_rename(server: Server, visit: Visit) -> None:
    """A name is remembered, and others see it change."""
    ann, bob = visit(server, "Ann"), visit(server, "Bob")
    ann.say("before")
    expect(bob.message("before")).to_contain_text("Ann")
    ann.rename("Anna Karenina")
    ann.say("after")
    expect(bob.message("after")).to_contain_text("Anna Karenina")
    expect(bob.person("Anna Karenina")).to_have_count(1)
    expect(bob.people).to_have_count(2)
    ann.page.reload()
    ann.is_connected()
    expect(ann.person("Anna Karenina", me=True)).to_be_visible()


def test_guests_have_names(server: Server, visit: Visit) -> None:
    """People who give no name get different ones."""
    one, two = visit(server), visit(server)
    expect(one.people).to_have_count(2)
    names = {tab.people.filter(has_text="(you)").inner_text() for tab in (one, two)}
    assert len(names) == 2 and all(re.search(r"\w{3}", name) for name in names)


def test_rooms_are_apart(server: Server, visit: Visit) -> None:
    tea, coffee = visit(server, "Ann", room="tea"), visit(server, "Bob", room="coffee")
    tea.say("Darjeeling")
    coffee.say("Espresso")
    expect(coffee.people).to_have_count(1)
    late = visit(server, "Cid", room="coffee")
    late.reads("Espresso")
    tea.reads("Darjeeling")

    tea.page.evaluate("location.hash = 'coffee'")
    tea.reads("Espresso")
    expect(late.person("Ann")).to_be_visible()
    tea.say("I have changed my mind")
    late.reads("Espresso", "I have changed my mind")
    tea.page.go_back()
    tea.reads("Darjeeling")
    expect(late.person("Ann")).to_have_count(0)


def test_who_is_here(server: Server, visit: Visit) -> None:
    ann = visit(server, "Ann")
    bob = visit(server, "Bob")
    expect(ann.people).to_have_count(2)
    expect(ann.person("Bob")).to_be_visible()
    expect(bob.person("Bob", me=True)).to_be_visible()
    expect(bob.person("Ann", me=True)).to_have_count(0)
    bob.page.close()
    expect(ann.message("Bob left")).to_be_visible()
    expect(ann.people).to_have_count(1)


def test_who_is_typing(server: Server, link: Link, visit: Visit) -> None:
    wire = link(server)
    ann, bob = visit(wire, "Ann"), visit(server, "Bob")
    typing = bob.page.get_by_text("Ann is typing")
    ann.composer.press_sequentially("I am going to")
    expect(typing).to_be_visible()
    ann.composer.press("Enter")
    expect(bob.message("I am going to")).to_be_visible()
    expect(typing).to_be_hidden()
    expect(ann.sent("I am going to")).to_be_visible()
    wire.freeze()
    ann.say("say more")
    ann.composer.press_sequentially("or not")  # before the last message is back
    wire.restore()
    expect(bob.message("say more")).to_be_visible()
    expect(typing).to_be_visible()
    expect(typing).to_be_hidden(timeout=15_000)
    expect(ann.page.get_by_text("is typing")).to_be_hidden()


def test_history_greets_who_comes_later(server: Server, visit: Visit) -> None:
    ann = visit(server, "Ann")
    ann.say("one", "two", "three")
    expect(ann.sent("three")).to_be_visible()
    visit(server, "Bob").reads("one", "two", "three")
    ann.page.reload()
    ann.reads("one", "two", "three")
    expect(ann.sent("one")).to_be_visible()


def test_history_survives_a_restart(serve: Serve, visit: Visit, tmp_path: Path) -> None:
    database = ("--db", str(tmp_path / "chat.db"))
    server = serve(HTTP, *database)
    ann = visit(server, "Ann")
    ann.say("for ever")
    expect(ann.sent("for ever")).to_be_visible()
    ann.page.close()
    server.stop()
    visit(serve(HTTP, *database), "Bob").reads("for ever")


def test_older_history_on_scrolling_up(server: Server, visit: Visit) -> None:
    """The message that one reads stays in place while older ones appear above it."""
    said = [f"line {number:03}" for number in range(120)]
    tell(server, said)
    ann = visit(server, "Ann")
    expect(ann.message("line 119")).to_be_in_viewport()
    expect(ann.message("line 000")).to_have_count(0)
    ann.log.hover()
    for oldest, older in (("line 070", "line 069"), ("line 020", "line 000")):
        expect(ann.message(older)).to_have_count(0)
        ann.page.mouse.wheel(0, -100_000)
        with suppress(AssertionError):  # a page that was still busy has missed it
            expect(ann.message(older)).to_have_count(1, timeout=5000)
        if not ann.message(older).count():
            ann.page.mouse.wheel(0, -100_000)
        expect(ann.message(older)).to_have_count(1)
        expect(ann.message(oldest)).to_be_in_viewport()
    ann.reads(*said)


def test_older_history_by_button(server: Server, visit: Visit) -> None:
    """A window in which all messages fit can't be scrolled; a button fetches older ones."""
    said = [f"line {number:02}" for number in range(60)]
    tell(server, said)
    ann = visit(server, "Ann", viewport={"width": 800, "height": 4000})
    expect(ann.message("line 10")).to_be_in_viewport()
    ann.page.get_by_role("button", name="Older messages").click()
    ann.reads(*said)


def test_reading_position_is_kept(server: Server, visit: Visit) -> None:
    """New messages neither move what one reads nor go unnoticed."""
    tell(server, [f"line {number:02}" for number in range(45)])
    ann, bob = visit(server, "Ann", room="lobby"), visit(server, "Bob", room="lobby")
    expect(ann.message("line 44")).to_be_in_viewport()
    ann.message("line 20").scroll_into_view_if_needed()
    expect(ann.message("line 44")).not_to_be_in_viewport()
    before = ann.message("line 20").bounding_box()
    bob.say("one", "two", "three")
    expect(ann.newest).to_contain_text("3 new")
    expect(ann.message("three")).to_have_count(1)
    assert ann.message("line 20").bounding_box() == before
    expect(ann.page).to_have_title("(3) #lobby – Chat")
    ann.newest.click()
    expect(ann.message("three")).to_be_in_viewport()
    expect(ann.newest).to_be_hidden()
    expect(ann.page).to_have_title("#lobby – Chat")


HIDE = """hidden => {
    for (const [name, value] of Object.entries(
        {hidden, visibilityState: hidden ? 'hidden' : 'visible', hasFocus: () => !hidden}))
        Object.defineProperty(document, name, {value, configurable: true});
    document.dispatchEvent(new Event('visibilitychange'));
    dispatchEvent(new Event(hidden ? 'blur' : 'focus'));
}"""
"""Headless browsers have no tab in the background: pretend."""


def test_title_counts_what_is_unread(server: Server, visit: Visit) -> None:
    ann, bob = visit(server, "Ann", room="tea"), visit(server, "Bob", room="tea")
    expect(ann.page).to_have_title("#tea – Chat")
    ann.page.evaluate(HIDE, True)
    bob.say("one", "two")
    expect(ann.page).to_have_title("(2) #tea – Chat")
    ann.page.evaluate(HIDE, False)
    expect(ann.page).to_have_title("#tea – Chat")


FLOOD = """(box, texts) => {
    for (box.value of texts) box.form.requestSubmit();
}"""
"""Send messages faster than anyone types."""


def test_a_flood_is_slowed_down(server: Server, visit: Visit) -> None:
    """The sender is told; all messages arrive, and those of others aren't delayed."""
    ann, bob = visit(server, "Ann"), visit(server, "Bob")
    flood = [f"number {number:02}" for number in range(40)]
    ann.composer.evaluate(FLOOD, flood)
    expect(ann.alert.filter(has_text="too fast")).to_be_visible()
    bob.say("Slowly!")
    expect(bob.sent("Slowly!")).to_be_visible()
    expect(ann.sent("number 39")).to_be_visible(timeout=30_000)
    assert bob.holds(*flood) == flood


def test_programs_can_chat(server: Server, visit: Visit) -> None:
    """Text that isn't one of the page's JSON requests is a message as it stands."""
    ann = visit(server, "Ann")
    tell(server, ["plain text", '{"type": "nonsense"}', "{}"], name="Robot")
    ann.reads("plain text", '{"type": "nonsense"}', "{}")
    expect(ann.message("plain text")).to_contain_text("Robot")

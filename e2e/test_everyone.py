"""On a phone, without a mouse, without seeing: the page serves everyone."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from e2e.conftest import Visit
from e2e.files import file, png
from e2e.server import Server
from e2e.tab import Tab

PHONE = {"width": 360, "height": 640}
SMALL_PHONE = {"width": 320, "height": 480}
DESKTOP = {"width": 1280, "height": 800}
SERIOUS = {"serious", "critical"}


def has_no_serious_violation(tab: Tab) -> None:
    found = Axe().run(tab.page).response["violations"]
    assert [
        (violation["id"], violation["impact"], [node["html"] for node in violation["nodes"]])
        for violation in found
        if violation["impact"] in SERIOUS
    ] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe(viewport: dict[str, int], scheme: str, server: Server, visit: Visit) -> None:
    ann = visit(server, "Ann", viewport=viewport, color_scheme=scheme)
    has_no_serious_violation(ann)  # empty
    bob = visit(server, "Bob")
    ann.attach(file("noise.png", png(40, 30), "image/png"), file("notes.txt", b"notes"))
    bob.attach(file("other.txt", b"notes"))
    bob.say("See https://example.org/", "A second one", "long " * 100)
    ann.say("Mine")
    expect(bob.sent("long")).to_be_visible()  # before he types: a message ends the notice of typing
    bob.composer.press_sequentially("I")
    expect(ann.page.get_by_text("Bob is typing")).to_be_visible()
    expect(ann.sent("Mine")).to_be_visible()
    expect(ann.log.get_by_role("img")).to_have_count(1)
    has_no_serious_violation(ann)


@pytest.mark.loses_server
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_without_a_server(scheme: str, server: Server, visit: Visit) -> None:
    ann = visit(server, "Ann", color_scheme=scheme)
    server.kill()
    ann.is_lost()
    ann.say("still to be sent")
    has_no_serious_violation(ann)


@pytest.mark.parametrize("viewport", [PHONE, SMALL_PHONE], ids=["phone", "small phone"])
def test_phone(viewport: dict[str, int], server: Server, visit: Visit) -> None:
    """All is within the width, and the composer stays in view."""
    ann, bob = visit(server, viewport=viewport), visit(server, "B" * 40)
    bob.say("W" * 200, "https://example.org/" + "x" * 200, "a word " * 100)
    bob.attach(file("w" * 80 + ".bin", b"."), file("wide.png", png(900, 90), "image/png"))
    expect(ann.log.get_by_role("img")).to_be_visible()
    ann.composer.fill("Hello from the train")
    send = ann.page.get_by_role("button", name="Send")
    expect(send).to_be_in_viewport(ratio=1)
    send.click()
    expect(bob.message("Hello from the train")).to_be_visible()
    expect(ann.composer).to_be_in_viewport(ratio=1)
    expect(ann.status).to_be_in_viewport()
    wider = "() => document.scrollingElement.scrollWidth - innerWidth"
    assert ann.page.evaluate(wider) <= 0
    assert ann.log.evaluate("log => log.scrollWidth - log.clientWidth") <= 0


def test_keyboard_only(server: Server, visit: Visit) -> None:
    """The composer has the focus at once, and Tab reaches everything."""
    ann, bob = visit(server), visit(server, "Bob")
    keyboard = ann.page.keyboard
    ann.page.bring_to_front()
    expect(ann.composer).to_be_focused()
    keyboard.type("first")
    keyboard.press("Shift+Enter")
    keyboard.type("second")
    keyboard.press("Enter")
    bob.reads("first\nsecond")
    expect(ann.composer).to_be_focused()

    wanted = {
        "Message": ann.composer,
        "Send": ann.page.get_by_role("button", name="Send"),
        "Messages": ann.log,
        "Your name": ann.name,
        "Attach a file": ann.page.get_by_role("button", name="Attach a file"),
    }
    for _ in range(20):
        if not wanted:
            break
        keyboard.press("Tab")
        for name, locator in wanted.items():
            if locator.evaluate("it => it === document.activeElement"):
                del wanted[name]
                break
    assert not wanted

    ann.name.focus()
    keyboard.press("ControlOrMeta+a")
    keyboard.type("Kim")
    keyboard.press("Enter")
    expect(bob.person("Kim")).to_be_visible()


@pytest.mark.only_browser("chromium")  # pictures change where Firefox has its focus
def test_focus_is_seen(server: Server, visit: Visit) -> None:
    """Wherever Tab leads, the page looks different."""
    ann = visit(server, "Ann")
    looks = []
    for _ in range(7):
        looks.append(ann.page.screenshot())
        ann.page.keyboard.press("Tab")
    assert len(set(looks)) == len(looks)

"""A browser tab with the chat, as a person sees and uses it."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import FilePayload, Locator, Page, expect


class Tab:
    """What is on the page, by the names that a screen reader gives it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.status = page.get_by_role("status")
        self.log = page.get_by_role("log", name="Messages")
        self.messages = self.log.get_by_role("listitem")
        self.composer = page.get_by_role("textbox", name="Message", exact=True)
        self.name = page.get_by_role("textbox", name="Your name")
        self.menu = page.get_by_role("button", name="Rooms and people")
        self.people = page.get_by_role("list", name="People").get_by_role("listitem")
        self.alert = page.get_by_role("alert")
        self.newest = page.get_by_role("button", name="Jump to newest")

    def is_connected(self) -> None:
        """Wait for the connection."""
        expect(self.status).to_contain_text("Connected")

    def is_lost(self) -> None:
        """Wait until the page tells that it has lost its server."""
        expect(self.status).to_contain_text("Reconnecting", timeout=30_000)

    def rename(self, name: str) -> None:
        """Be called `name`."""
        if not self.name.is_visible():  # on a phone
            self.menu.click()
        self.name.fill(name)
        self.name.press("Enter")
        expect(self.person(name, me=True)).to_be_visible()

    def say(self, *texts: str) -> None:
        """Send each text as a message."""
        for text in texts:
            self.composer.fill(text)
            self.composer.press("Enter")
            expect(self.composer).to_have_value("")

    def attach(self, *files: FilePayload | Path) -> None:
        """Send files, by their paths or from memory."""
        self.page.locator("input[type=file]").set_input_files(list(files))

    def message(self, text: str | re.Pattern[str]) -> Locator:
        """Return the messages with this text."""
        return self.messages.filter(has_text=text)

    def sent(self, text: str) -> Locator:
        """Return the own messages with this text that the server has."""
        return self.message(text).filter(has_text="Sent")

    def person(self, name: str, *, me: bool = False) -> Locator:
        """Return who is here under this name."""
        found = self.people.filter(has_text=name)
        return found.filter(has_text="(you)") if me else found

    def reads(self, *texts: str) -> None:
        """Wait until these messages are there in this order, and no others."""
        said = self.messages.filter(has=self.page.get_by_role("time"))
        expect(said).to_have_count(len(texts))
        expect(said).to_contain_text(texts)

    def holds(self, *texts: str) -> list[str]:
        """Wait until these messages are there among others, each once; return their order."""
        found = self.message(re.compile("|".join(map(re.escape, texts))))
        expect(found).to_have_count(len(texts))
        order = [text for item in found.all_inner_texts() for text in texts if text in item]
        assert sorted(order) == sorted(texts)
        return order

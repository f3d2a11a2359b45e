"""People show each other pictures and give each other files."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from e2e.conftest import Link, Serve, Visit
from e2e.files import file, png
from e2e.server import WAYS, Server, Way


def saved(page: Page, link: Locator) -> bytes:
    """Return what a click on a link saves."""
    with page.expect_download() as download:
        link.click()
    return Path(download.value.path()).read_bytes()


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_image_byte_for_byte(way: Way, serve: Serve, visit: Visit) -> None:
    server = serve(way)
    ann, bob = visit(server, "Ann"), visit(server, "Bob")
    for tab in (ann, bob):
        tab.page.evaluate(KEEP)
    content = png(300, 200)
    ann.attach(file("noise.png", content, "image/png"))
    for tab in (ann, bob):
        image = tab.log.get_by_role("img", name="noise.png")
        expect(image).to_be_visible()
        expect(image).to_have_js_property("naturalWidth", 300)
        assert base64.b64decode(image.evaluate(KEPT).partition(",")[2]) == content


KEEP = """() => {
    const make = URL.createObjectURL;
    window.kept = new Map();
    URL.createObjectURL = blob => {
        const url = make.call(URL, blob);
        kept.set(url, blob);
        return url;
    };
}"""
"""Keep hold of what images show: the page's policy doesn't let us fetch it from them."""
KEPT = """image => new Promise(resolve => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(kept.get(image.src));
})"""

downloads = pytest.mark.only_browser("chromium")
"""Playwright misses most downloads of blobs in Debian's Firefox."""


@downloads
def test_image_is_seen_large_and_saved(server: Server, visit: Visit) -> None:
    ann, bob = visit(server, "Ann"), visit(server, "Bob")
    content = png(300, 200)
    ann.attach(file("noise.png", content, "image/png"))
    bob.log.get_by_role("img", name="noise.png").click()
    viewer = bob.page.get_by_role("dialog")
    assert saved(bob.page, viewer.get_by_role("link", name="Save")) == content
    bob.page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()


@downloads
def test_other_files_are_downloaded(server: Server, visit: Visit) -> None:
    """HTML is downloaded as well; it is never opened on our origin."""
    ann, bob = visit(server, "Ann"), visit(server, "Bob")
    files = {
        "all bytes.bin": bytes(range(256)) * 100,
        "page.html": b"<script>alert(1)</script>",
        "picture.svg": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    }
    ann.attach(*(file(name, content) for name, content in files.items()))
    for name, content in files.items():
        link = bob.log.get_by_role("link", name=name)
        expect(link).to_have_attribute("download", name)
        assert saved(bob.page, link) == content


def test_a_transfer_shows(server: Server, link: Link, visit: Visit) -> None:
    """Over a link that hangs, a progress bar tells that something is under way."""
    wire = link(server)
    ann, bob = visit(wire, "Ann"), visit(server, "Bob")
    content = png(1000, 600)
    wire.freeze()
    ann.attach(file("large.png", content, "image/png"))
    expect(ann.page.get_by_role("progressbar").first).to_be_visible()
    wire.restore()
    expect(bob.log.get_by_role("img", name="large.png")).to_be_visible()
    mine = ann.messages.filter(has=ann.page.get_by_role("img", name="large.png"))
    expect(mine).to_contain_text("Sent")
    expect(ann.page.get_by_role("progressbar")).to_have_count(0)


def test_too_large(server: Server, visit: Visit, tmp_path: Path) -> None:
    ann, bob = visit(server, "Ann"), visit(server, "Bob")
    huge = tmp_path / "huge.bin"
    huge.write_bytes(bytes((5 << 20) + 1))
    ann.attach(huge)
    expect(ann.alert.filter(has_text="too large")).to_be_visible()
    ann.say("Well then.")
    bob.reads("Well then.")


TRANSFER = """([kind, name, base64]) => {
    const bytes = Uint8Array.from(atob(base64), c => c.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name, {type: "image/png"}));
    const at = kind === "paste" ? document.activeElement : document.querySelector("[role=log]");
    const options = {bubbles: true, cancelable: true};
    if (kind === "paste") {
        const event = new ClipboardEvent("paste", options);
        Object.defineProperty(event, "clipboardData", {value: data}); // Firefox takes none
        at.dispatchEvent(event);
        return;
    }
    for (const step of ["dragenter", "dragover", "drop"])
        at.dispatchEvent(new DragEvent(step, {...options, dataTransfer: data}));
}"""


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_pasted_and_dropped(kind: str, server: Server, visit: Visit) -> None:
    ann, bob = visit(server, "Ann"), visit(server, "Bob")
    ann.composer.focus()
    ann.page.evaluate(TRANSFER, [kind, "shot.png", base64.b64encode(png(20, 10)).decode()])
    expect(bob.log.get_by_role("img", name="shot.png")).to_have_js_property("naturalWidth", 20)

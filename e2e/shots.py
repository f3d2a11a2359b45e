"""The README's pictures, from the real page: `python -m e2e.shots`.

`--folder FOLDER --any-font --quick` tries it out: few pictures, elsewhere, in the fonts there are.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from playwright.sync_api import Browser, expect, sync_playwright

from e2e.browsers import advice, launch_options
from e2e.files import file
from e2e.server import HTTP, Server
from e2e.tab import Tab
from tests.support import ROOT

DOCS = ROOT / "docs"
FONTS = {"Inter": "fonts-inter", "Noto Color Emoji": "fonts-noto-color-emoji"}
"""Fonts that look like those of most systems, and their Debian packages."""
FONT_SETTINGS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <include>/etc/fonts/fonts.conf</include>
  <alias binding="strong">
    <family>sans-serif</family>
    <prefer><family>Inter</family><family>Noto Color Emoji</family></prefer>
  </alias>
  <alias binding="strong">
    <family>system-ui</family>
    <prefer><family>Inter</family><family>Noto Color Emoji</family></prefer>
  </alias>
</fontconfig>
"""

SCALE = 1.5
"""Pixels of the animation to a pixel of the page; the sizes below are in the page's."""
WINDOW = {"width": 400, "height": 500}
GAP = 16
BAR = 26
RADIUS = 10
BACKGROUND, BAR_COLOUR, EDGE = "#ffffff", "#e4e1da", "#cfcbc2"
COLOURS = 256
KEY_MS, BLINK_MS, READ_MS, END_MS = 70, 300, 900, 3000
"""Milliseconds that a picture stays: after a keystroke, for a moment, to be read, at the end."""


SKY, GLOW = (62, 84, 140), (255, 176, 112)
HILLS = (
    ("#6c547c", 0.70, 0.08, 1.7),
    ("#483e68", 0.79, 0.06, 2.9),
    ("#262848", 0.89, 0.05, 4.1),
)
"""Colour of each; its height and its swing, as shares of the picture; its waves."""


def sunrise(width: int, height: int) -> bytes:
    """Return a picture to show each other."""
    right, bottom = 2 * width, 2 * height  # drawn large, for smooth edges
    picture = Image.new("RGB", (right, bottom))
    draw = ImageDraw.Draw(picture)
    for y in range(bottom):
        part = (y / bottom) ** 1.3
        colour = tuple(round(a + (b - a) * part) for a, b in zip(SKY, GLOW))
        draw.line([(0, y), (right, y)], fill=colour)
    sun = (0.64 * right, 0.66 * bottom)
    draw.circle(sun, 0.21 * bottom, fill=(255, 196, 128))
    draw.circle(sun, 0.17 * bottom, fill=(255, 232, 176))
    for hill, level, swing, waves in HILLS:
        ridge = [
            (x, bottom * (level + swing * math.sin(waves * (3 * x / right + 2))))
            for x in range(0, right + 1, 2)
        ]
        draw.polygon([(0, bottom), *ridge, (right, bottom)], fill=hill)
    encoded = io.BytesIO()
    picture.resize((width, height), Image.Resampling.LANCZOS).save(encoded, "PNG")
    return encoded.getvalue()


SUNRISE = file("sunrise.png", sunrise(480, 300), "image/png")


class Film:
    """Pictures of two tabs side by side, each with the time that it is shown."""

    def __init__(self, *tabs: Tab) -> None:
        self.tabs = tabs
        self.pictures: list[Image.Image] = []
        self.times: list[int] = []

    def take(self, milliseconds: int) -> None:
        size = [round(WINDOW[side] * SCALE) for side in ("width", "height")]
        gap, bar = round(GAP * SCALE), round(BAR * SCALE)
        picture = Image.new("RGB", (2 * size[0] + 3 * gap, size[1] + bar + 2 * gap), BACKGROUND)
        for number, tab in enumerate(self.tabs):
            page = Image.open(io.BytesIO(tab.page.screenshot(animations="disabled")))
            window, mask = framed(page.convert("RGB"), bar)
            picture.paste(window, (gap + number * (size[0] + gap), gap), mask)
        if self.pictures and picture.tobytes() == self.pictures[-1].tobytes():
            self.times[-1] += milliseconds
            return
        self.pictures.append(picture)
        self.times.append(milliseconds)

    def type(self, tab: Tab, text: str) -> None:
        """Write a message, letter by letter, and send it."""
        for letter in text:
            tab.composer.press_sequentially(letter)
            self.take(KEY_MS)
        self.take(BLINK_MS)
        tab.composer.press("Enter")
        for other in self.tabs:
            expect(other.message(text)).to_be_visible()
            expect(other.page.get_by_text("is typing")).to_be_hidden()
        expect(tab.sent(text)).to_be_visible()
        self.take(READ_MS)

    def save(self, path: Path) -> None:
        # One palette for all, without dithering: what doesn't change costs nothing.
        palette = _strip(self.pictures[:: len(self.pictures) // 6 or 1] + self.pictures[-1:])
        palette = palette.quantize(COLOURS, dither=Image.Dither.NONE)
        first, *others = (
            picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in self.pictures
        )
        times = self.times
        first.save(path, save_all=True, append_images=others, duration=times, loop=0)


def _strip(pictures: list[Image.Image]) -> Image.Image:
    strip = Image.new("RGB", (pictures[0].width, sum(p.height for p in pictures)))
    for number, picture in enumerate(pictures):
        strip.paste(picture, (0, number * picture.height))
    return strip


def framed(page: Image.Image, bar: int) -> tuple[Image.Image, Image.Image]:
    """Return a page as a window, and the mask of its rounded corners."""
    window = Image.new("RGB", (page.width, page.height + bar), BAR_COLOUR)
    window.paste(page, (0, bar))
    draw = ImageDraw.Draw(window)
    for number, colour in enumerate(("#e8766c", "#e9bd59", "#77b76d")):
        draw.circle((bar * (0.62 + 0.66 * number), bar / 2), bar * 0.19, fill=colour)
    corners = [(0, 0), (window.width - 1, window.height - 1)]
    radius = round(RADIUS * SCALE)
    draw.rounded_rectangle(corners, radius, outline=EDGE, width=2)
    large = Image.new("L", (window.width * 4, window.height * 4))
    ImageDraw.Draw(large).rounded_rectangle([(0, 0), large.size], radius * 4, fill=255)
    return window, large.resize(window.size, Image.Resampling.LANCZOS)


def visit(browser: Browser, server: Server, name: str, room: str, **options: Any) -> Tab:
    context = browser.new_context(reduced_motion="reduce", locale="en-GB", **options)
    tab = Tab(context.new_page())
    tab.page.goto(HTTP.url(server.port, room))
    tab.is_connected()
    tab.rename(name)
    tab.composer.focus()
    return tab


def animation(browser: Browser, server: Server, folder: Path, quick: bool) -> None:
    """Two tabs side by side, someone typing."""
    look = {"viewport": WINDOW, "device_scale_factor": SCALE, "color_scheme": "light"}
    ann, bob = (visit(browser, server, name, "garden", **look) for name in ("Ann", "Bob"))
    for tab in (ann, bob):
        tab.page.reload()  # without the notices of joining and renaming
        tab.is_connected()
    expect(ann.page.get_by_text("2 people")).to_be_visible()
    film = Film(ann, bob)
    film.take(READ_MS)
    film.type(ann, "Up?" if quick else "Are you up already?")
    film.type(bob, "Yes" if quick else "Since five! Look at this:")
    bob.attach(SUNRISE)
    for tab in film.tabs:
        expect(tab.log.get_by_role("img", name="sunrise.png")).to_be_visible()
    film.take(2 * READ_MS)
    film.type(ann, "😍" if quick else "Beautiful 😍")
    film.take(END_MS)
    film.save(folder / "chat.gif")


def conversation(browser: Browser, server: Server, room: str) -> None:
    """Say something in a room, so that there is something to see."""
    cid, bob = visit(browser, server, "Cid", room), visit(browser, server, "Bob", room)
    cid.say("Who is in for a walk on Saturday?")
    bob.say("Me! https://weather.example says sun.")
    expect(cid.message("Me!")).to_be_visible()
    cid.say("Lovely. This was last week, from the hill:")
    cid.attach(SUNRISE)
    expect(bob.log.get_by_role("img", name="sunrise.png")).to_be_visible()
    bob.say("😍")


def stills(browser: Browser, server: Server, folder: Path) -> None:
    """The page in light and dark, and on a phone."""
    desktop, phone = {"width": 1000, "height": 820}, {"width": 390, "height": 720}
    conversation(browser, server, "walks")
    ann = visit(browser, server, "Ann", "walks", device_scale_factor=2)
    ann.say("I'll bring cake.")
    expect(ann.sent("I'll bring cake.")).to_be_visible()
    for name, viewport, scheme in (
        ("chat-light", desktop, "light"),
        ("chat-dark", desktop, "dark"),
        ("chat-phone", phone, "light"),
    ):
        ann.page.emulate_media(color_scheme=scheme)
        ann.page.set_viewport_size(viewport)
        ann.page.reload()  # without the notice that Ann has joined
        ann.is_connected()
        expect(ann.log.get_by_role("img", name="sunrise.png")).to_be_visible()
        picture = Image.open(io.BytesIO(ann.page.screenshot())).convert("RGB")
        picture.quantize(256, dither=Image.Dither.NONE).save(folder / f"{name}.png", optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=DOCS, help="where the pictures go")
    parser.add_argument("--any-font", action="store_true", help="do without those of FONTS")
    parser.add_argument("--quick", action="store_true", help="type little in the animation")
    arguments = parser.parse_args()
    chromium = launch_options().get("chromium")
    if chromium is None:
        raise SystemExit(advice("chromium"))
    for font, package in FONTS.items():
        match = subprocess.run(["fc-match", font], capture_output=True, text=True, check=True)
        if f'"{font}"' not in match.stdout and not arguments.any_font:
            raise SystemExit(f"no font {font}: `apt-get install {package}`")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        fonts = Path(folder, "fonts.conf")
        fonts.write_text(FONT_SETTINGS)
        environment = {**os.environ, "FONTCONFIG_FILE": str(fonts)}
        browser = playwright.chromium.launch(**chromium, env=environment)
        server = Server(Path(folder, "server.log"), HTTP)
        animation(browser, server, arguments.folder, arguments.quick)
        stills(browser, server, arguments.folder)
        browser.close()
        server.stop()
    for path in sorted(arguments.folder.glob("chat*")):
        print(os.path.relpath(path), f"{path.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main()

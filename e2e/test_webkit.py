"""The chat in WebKit, where its driver is: on Debian, `apt-get install webkit2gtk-driver xvfb`.

Playwright can't drive the system's WebKit; WebDriver can, and needs a display.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Iterator

import pytest
from selenium.webdriver import WebKitGTK, WebKitGTKOptions
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from selenium.webdriver.webkitgtk.service import Service

from e2e.browsers import WEBKIT_PACKAGES, mini_browser
from e2e.conftest import Serve, failed
from e2e.files import png
from e2e.server import WAYS, Server, Way

DEADLINE_SECONDS = 20
MINI_BROWSER = mini_browser()

pytestmark = pytest.mark.skipif(
    not MINI_BROWSER, reason=f"WebKit needs Debian's {' and '.join(WEBKIT_PACKAGES)}"
)


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """A screen that nobody sees."""
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL) as xvfb:
        os.close(writer)
        with open(reader) as number:
            yield f":{number.readline().strip()}"
        xvfb.terminate()


class Tabs:
    """The tabs of one browser."""

    def __init__(self, driver: WebKitGTK) -> None:
        self.driver = driver
        self.names: dict[str, str] = {}

    def open(self, name: str, url: str) -> None:
        if self.names:
            self.driver.switch_to.new_window("tab")
        self.names[name] = self.driver.current_window_handle
        self.driver.get(url)
        self.sees(name, "[role=status]", "Connected")

    def sees(self, name: str, selector: str, text: str) -> None:
        """Wait until the tab shows a text, once."""
        self.driver.switch_to.window(self.names[name])

        def shown(driver: WebKitGTK) -> bool:
            found = driver.find_elements(By.CSS_SELECTOR, selector)
            return sum(text in element.text for element in found) == 1

        WebDriverWait(self.driver, DEADLINE_SECONDS).until(shown, f"{name} doesn't see {text!r}")

    def say(self, name: str, text: str) -> None:
        self.driver.switch_to.window(self.names[name])
        composer = self.driver.find_element(By.TAG_NAME, "textarea")
        composer.send_keys(text, Keys.ENTER)


@pytest.fixture
def tabs(display: str, output_path: str, request: pytest.FixtureRequest) -> Iterator[Tabs]:
    options = WebKitGTKOptions()
    options.binary_location = str(MINI_BROWSER)
    options.add_argument("--automation")
    options.set_capability("acceptInsecureCerts", True)
    environment = {**os.environ, "DISPLAY": display, "WEBKIT_SKIA_ENABLE_CPU_RENDERING": "1"}
    driver = WebKitGTK(options, Service(env=environment))
    yield Tabs(driver)
    if failed(request):
        Path(output_path).mkdir(parents=True, exist_ok=True)
        driver.save_screenshot(str(Path(output_path, "test-failed-1.png")))
    driver.quit()


ITEM = "[role=log] li"


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_two_tabs_talk(way: Way, serve: Serve, tabs: Tabs) -> None:
    server = serve(way)
    tabs.open("left", way.url(server.port))
    tabs.open("right", way.url(server.port))
    tabs.say("left", "Hello from the left")
    tabs.sees("right", ITEM, "Hello from the left")
    tabs.say("right", "Hello from the right")
    for name in ("left", "right"):
        tabs.sees(name, ITEM, "Hello from the right")


def test_killed_and_restarted(serve: Serve, server: Server, tabs: Tabs) -> None:
    """A message written while the server is down arrives once."""
    url = server.way.url(server.port)
    tabs.open("left", url)
    tabs.open("right", url)
    server.kill()
    tabs.sees("left", "[role=status]", "Reconnecting")
    tabs.say("left", "Said to nobody")
    server.start()
    for name in ("left", "right"):
        tabs.sees(name, "[role=status]", "Connected")
        tabs.sees(name, ITEM, "Said to nobody")


def test_image(server: Server, tabs: Tabs, tmp_path: Path) -> None:
    picture = tmp_path / "noise.png"
    picture.write_bytes(png(300, 200))
    url = server.way.url(server.port)
    tabs.open("left", url)
    tabs.open("right", url)
    tabs.driver.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(str(picture))
    tabs.driver.switch_to.window(tabs.names["left"])
    loaded = "return document.querySelector('[role=log] img')?.naturalWidth"
    WebDriverWait(tabs.driver, DEADLINE_SECONDS).until(
        lambda driver: driver.execute_script(loaded) == 300
    )

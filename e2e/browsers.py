"""Find browsers: Playwright's own, or else the system's.

`python -m e2e.browsers` prints the Debian packages of those that are missing.
"""

from __future__ import annotations

import os
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

SYSTEM = {
    "chromium": ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    "firefox": ("firefox-esr", "firefox"),
}
"""The system's programs for each browser, the best first."""
PACKAGES = {"chromium": "chromium", "firefox": "firefox-esr"}
WEBKIT_PACKAGES = ("webkit2gtk-driver", "xvfb")
CHROMIUM_ARGUMENTS = ("--disable-component-update", "--disable-domain-reliability")

FEW_PROCESSES = {
    "fission.autostart": False,
    "dom.ipc.processCount": 1,
    "dom.ipc.processPrelaunch.enabled": False,
}
"""Settings for Firefox, which by default has a process for each page and one in reserve."""


@lru_cache
def launch_options() -> dict[str, dict[str, Any]]:
    """Return Playwright's launch options for each installed browser, by its name."""
    with sync_playwright() as playwright:
        own = {name: getattr(playwright, name).executable_path for name in SYSTEM}
    found: dict[str, dict[str, Any]] = {}
    for name, programs in SYSTEM.items():
        named = os.environ.get(f"E2E_{name.upper()}")
        program = named or next(filter(None, map(shutil.which, programs)), None)
        if not named and Path(own[name]).exists():
            found[name] = {}
        elif program:
            found[name] = {"executable_path": program}
            if name == "firefox":
                found[name]["channel"] = "moz-firefox"  # a Firefox that Mozilla has built
                found[name]["firefox_user_prefs"] = FEW_PROCESSES
    if "chromium" in found:
        found["chromium"]["args"] = [
            *CHROMIUM_ARGUMENTS,
            # as root, Chromium's sandbox doesn't start
            *(["--no-sandbox"] if hasattr(os, "getuid") and os.getuid() == 0 else []),
        ]
    return found


def mini_browser() -> Path | None:
    """Return WebKit's small browser, if it, its driver and a screen for it are here."""
    if not all(map(shutil.which, ("WebKitWebDriver", "Xvfb"))):
        return None
    return next(Path("/usr").glob("lib*/**/webkit2gtk-4.1/MiniBrowser"), None)


def advice(name: str) -> str:
    """Return what to do about a browser that is missing."""
    return (
        f"no {name.capitalize()}: `python -m playwright install {name}`, "
        f"or on Debian `apt-get install {PACKAGES[name]}`, "
        f"or name the program in E2E_{name.upper()}"
    )


if __name__ == "__main__":
    missing = [package for name, package in PACKAGES.items() if name not in launch_options()]
    print(*missing, *(() if mini_browser() else WEBKIT_PACKAGES))

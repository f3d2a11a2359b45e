"""A site in Flask on gunicorn: the WebSocket is on the page's origin, with its session's cookie."""

from __future__ import annotations

import signal
from typing import Callable, Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.support.processes import PORT, ServerProgram, module

OPEN = """() => new Promise(resolve => {
  const socket = new WebSocket(location.href.replace("http", "ws") + "ws");
  socket.onopen = () => resolve("open");
  socket.onclose = event => resolve(event.code);
})"""


@pytest.fixture(params=["sync", "gthread"])
def site(request: pytest.FixtureRequest) -> Iterator[ServerProgram]:
    options = ("--worker-class", request.param, "--threads", "3", "--no-control-socket")
    with ServerProgram(
        module("gunicorn", f"--bind=127.0.0.1:{PORT}", *options, "e2e.site")
    ) as site:
        yield site
        assert "Traceback" not in site.output()


def log_in(page: Page, site: ServerProgram, name: str) -> None:
    """Log in, and see that the page connects."""
    page.goto(f"http://127.0.0.1:{site.port}/")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Name").press("Enter")
    expect(page.get_by_role("status")).to_have_text("connected 1")


def say(page: Page, text: str) -> None:
    """Say something."""
    page.get_by_label("Say").fill(text)
    page.get_by_label("Say").press("Enter")


def test_a_session_is_that_of_the_page(
    site: ServerProgram, new_context: Callable[..., BrowserContext]
) -> None:
    """Two who have logged in talk; gunicorn reloads, and is restarted; a stranger stays out."""
    ann, bob, stranger = (new_context().new_page() for _ in range(3))
    log_in(ann, site, "Ann")
    log_in(bob, site, "Bob")
    say(ann, "hello")
    expect(bob.get_by_text("Ann: hello")).to_be_visible()
    stranger.goto(f"http://127.0.0.1:{site.port}/")
    assert stranger.evaluate(OPEN) == 1006

    site.signal(signal.SIGHUP)
    for page in (ann, bob):
        expect(page.get_by_role("status")).to_have_text("connected 2")
    say(bob, "after the reload")
    expect(ann.get_by_text("Bob: after the reload")).to_be_visible()

    assert site.terminate() == 0
    for page in (ann, bob):
        expect(page.get_by_role("status")).to_have_text("closed with 1006")  # nobody serves
    site.start()
    for page in (ann, bob):
        expect(page.get_by_role("status")).to_have_text("connected 3")
    say(ann, "after the restart")
    expect(bob.get_by_text("Ann: after the restart")).to_be_visible()

"""The page in a browser, where there is one: it moves to another node, and nothing is missing."""

from __future__ import annotations

import contextlib

import pytest

from tests.cluster.programs import Node, Proxy, Redis
from tests.support.chatclient import ChatClient

pytest.importorskip("playwright")

from playwright.sync_api import sync_playwright

from e2e.browsers import advice, launch_options
from e2e.tab import Tab


@pytest.mark.timeout(120)
def test_a_page_moves_between_nodes() -> None:
    if "chromium" not in launch_options():
        pytest.skip(advice("chromium"))
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(Redis())
        options = ("--redis", redis.url, "--proxy", "127.0.0.1")
        nodes = [stack.enter_context(Node(*options)) for _ in range(2)]
        proxy = stack.enter_context(Proxy("nginx.conf", [node.port for node in nodes]))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(**launch_options()["chromium"])  # type: ignore[arg-type]
        tab = Tab(browser.new_page())
        tab.page.goto(f"http://127.0.0.1:{proxy.port}/#tea")
        tab.is_connected()
        tab.say("from the page")
        tab.reads("from the page")
        for number, node in enumerate(nodes):  # the page is on one of them
            node.kill()
            other = ChatClient(nodes[1 - number].port, "Other", room="tea")
            other.say(f"said {number}")
            tab.say(f"page {number}")
            tab.is_connected()
            tab.sent(f"page {number}").wait_for(timeout=30_000)
            other.leave()
            node.start()
        for text in ("from the page", "said 0", "page 0", "said 1", "page 1"):
            assert tab.message(text).count() == 1, text
        browser.close()

"""Browsers, servers, links and tabs. A test also fails if its pages log an error."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Error, WebError, expect

from e2e.browsers import SYSTEM, advice, launch_options
from e2e.server import HTTP, Proxy, Server, Way
from e2e.tab import Tab
from tests.support import certificates
from tests.support.waiting import DEADLINE

LOST = re.compile(
    r"WebSocket connection to .* failed"  # Chromium
    r"|can’t establish a connection to|connection to .* was interrupted"  # Firefox
    r"|ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET"
)
"""What browsers log when a connection fails, whatever the page does."""

MISSING = pytest.StashKey[list[str]]()

Visit = Callable[..., Tab]
Serve = Callable[..., Server]
Link = Callable[[Server], Proxy]
NewContext = Callable[..., BrowserContext]

expect.set_options(timeout=1000 * DEADLINE)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Use the installed browsers; in CI, or if one is asked for, a missing one is an error."""
    wanted = config.option.browser or list(SYSTEM)
    missing = [name for name in wanted if name in SYSTEM and name not in launch_options()]
    if missing and (config.option.browser or os.environ.get("CI") or missing == wanted):
        raise pytest.UsageError("; ".join(map(advice, missing)))
    config.option.browser = [name for name in wanted if name not in missing]
    config.stash[MISSING] = missing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, so that no worker waits for them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


def pytest_report_header(config: pytest.Config) -> list[str]:
    found = [
        f"{name} ({launch_options().get(name, {}).get('executable_path') or 'of Playwright'})"
        for name in config.option.browser
    ]
    missing = config.stash[MISSING]
    return ["browsers: " + ", ".join(found), *map(advice, missing)]


@pytest.fixture(scope="session")
def browser_type_launch_args(
    browser_type_launch_args: dict[str, Any], browser_name: str
) -> dict[str, Any]:
    return {**browser_type_launch_args, **launch_options().get(browser_name, {})}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    return {**browser_context_args, "ignore_https_errors": True, "reduced_motion": "reduce"}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificate:
    """A certificate for localhost, and its key."""
    return certificates.issue(tmp_path_factory.mktemp("tls"))


def failed(request: pytest.FixtureRequest) -> bool:
    """Return whether the test has failed, as pytest-playwright notes it."""
    report = getattr(request.node, "rep_call", None)
    return report is None or bool(report.failed)


@pytest.fixture
def serve(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    output_path: str,
    certificate: certificates.Certificate,
) -> Iterator[Serve]:
    """Start a server: `serve(way, "--db", path)`."""
    servers: list[Server] = []

    def serve(way: Way = HTTP, *arguments: str) -> Server:
        tls = ("--cert", certificate.cert, "--key", certificate.key) if way.tls else ()
        log = tmp_path / f"server-{len(servers)}.log"
        servers.append(Server(log, way, *tls, *arguments))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()
    if failed(request):
        Path(output_path).mkdir(parents=True, exist_ok=True)
        for server in servers:
            shutil.copy(server.log, output_path)
    for server in servers:
        assert "Traceback" not in server.log.read_text()


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve()


@pytest.fixture
def link() -> Iterator[Link]:
    """Put a proxy before a server: `link(server)`."""
    proxies: list[Proxy] = []

    def link(server: Server) -> Proxy:
        proxies.append(Proxy(server))
        return proxies[-1]

    yield link
    for proxy in proxies:
        proxy.close()


@pytest.fixture
def visit(
    request: pytest.FixtureRequest, new_context: NewContext, output_path: str
) -> Iterator[Visit]:
    """Open the chat in a new browser context: `visit(server, "Ann", room="tea")`.

    With *beside* it is a tab in the context of another one: `visit(server, beside=ann)`.
    """
    tabs: list[Tab] = []
    faults: list[str] = []

    def complain(text: str) -> None:
        if not (request.node.get_closest_marker("loses_server") and LOST.search(text)):
            faults.append(text)

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            complain(message.text)

    def on_error(error: WebError) -> None:
        complain(str(error.error))

    def visit(
        to: Server | Proxy,
        name: str = "",
        room: str = "",
        beside: Tab | None = None,
        **options: Any,
    ) -> Tab:
        if beside:
            context = beside.page.context
        else:
            context = new_context(**options)
            context.on("console", on_console)
            context.on("weberror", on_error)
            context.tracing.start(snapshots=True)  # screenshots would take twice as long
        tab = Tab(context.new_page())
        tabs.append(tab)
        tab.page.goto(to.way.url(to.port, room))
        tab.is_connected()
        if name:
            tab.rename(name)
        return tab

    yield visit
    complaints = faults.copy()  # taken before the screenshots, which make Firefox log errors
    if complaints or failed(request):
        for number, tab in enumerate(tabs):
            with suppress(Error):  # the tab is closed or hangs
                tab.page.screenshot(path=f"{output_path}/tab-{number}.png", timeout=5000)
        for number, context in enumerate({tab.page.context: None for tab in tabs}):
            context.tracing.stop(path=f"{output_path}/trace-{number}.zip")
    assert not complaints, "the pages complain"

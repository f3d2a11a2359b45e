"""Pages are safe from messages, names, files and pages of other sites."""

from __future__ import annotations

import http.server
import threading
from typing import Iterator

import pytest
from playwright.sync_api import Dialog, expect

from e2e.conftest import NewContext, Serve, Visit
from e2e.robots import tell
from e2e.server import HTTP, WAYS, Server, Way
from e2e.tab import Tab

XSS = """
<script>alert(1)</script>
</script><script>alert(1)</script>
<img src=x onerror=alert(1)>
<svg onload=alert(1)>
<svg><script>alert(1)</script></svg>
<body onload=alert(1)>
<iframe src="javascript:alert(1)"></iframe>
<iframe srcdoc="<script>alert(1)</script>"></iframe>
<a href="javascript:alert(1)">click</a>
<details open ontoggle=alert(1)>
<math><mtext></p><style><img src onerror=alert(1)>
<input autofocus onfocus=alert(1)>
<video><source onerror=alert(1)></video>
<object data="data:text/html,<script>alert(1)</script>">
<style>*{display:none}</style>
<meta http-equiv=refresh content="0;url=javascript:alert(1)">
<base href=//evil.example>
"><img src=x onerror=alert(1)>
'-alert(1)-'
${alert(1)}{{alert(1)}}
&lt;img src=x onerror=alert(1)&gt; &amp; &#60;b&#62;
javascript:alert(1)
<!--><img src=x onerror=alert(1)>
\\u003cimg src=x onerror=alert(1)\\u003e
""".strip().splitlines()
NAMES = [
    "<img src=x onerror=alert(1)>",
    "<b onclick=alert(1)>Bob",
    '"><svg onload=alert(1)>',
    "__proto__",
]
ELEMENTS = "script, iframe, object, style, base, meta, video, math, details, [onload], [onerror]"
"""Elements that the page itself doesn't have in its body."""


def unharmed(tab: Tab, dialogs: list[Dialog]) -> None:
    assert not dialogs
    expect(tab.page.locator("body").locator(ELEMENTS)).to_have_count(0)


@pytest.fixture
def dialogs() -> list[Dialog]:
    return []


@pytest.mark.parametrize("way", [way for way in WAYS if not way.tls], ids=str)
def test_markup_in_messages_stays_text(
    way: Way, serve: Serve, visit: Visit, dialogs: list[Dialog]
) -> None:
    server = serve(way)
    ann = visit(server, "Ann")
    ann.page.on("dialog", lambda dialog: dialogs.append(dialog))
    tell(server, XSS)
    ann.reads(*XSS)
    ann.say(*XSS[:3])
    for payload in XSS[:3]:
        expect(ann.message(payload).last).to_be_visible()
    unharmed(ann, dialogs)


def test_markup_in_names_stays_text(server: Server, visit: Visit, dialogs: list[Dialog]) -> None:
    ann, bob = visit(server, "Ann"), visit(server)
    ann.page.on("dialog", lambda dialog: dialogs.append(dialog))
    bob.page.on("dialog", lambda dialog: dialogs.append(dialog))
    for name in NAMES:
        bob.rename(name)
        bob.say(f"I am {NAMES.index(name)}")
        bob.composer.press_sequentially("…")
        expect(ann.page.get_by_text(f"{name} is typing")).to_be_visible()
        bob.composer.fill("")
        expect(ann.message(f"I am {NAMES.index(name)}")).to_contain_text(name)
        expect(ann.person(name)).to_have_count(1)
    unharmed(ann, dialogs)
    unharmed(bob, dialogs)


def test_markup_in_rooms_and_file_names_stays_text(
    server: Server, visit: Visit, dialogs: list[Dialog]
) -> None:
    room = "<img src=x onerror=alert(1)>"
    ann = visit(server, "Ann", room=room)
    ann.page.on("dialog", lambda dialog: dialogs.append(dialog))
    expect(ann.page).to_have_title(f"#{room} – Chat")
    ann.attach({"name": "'\"><svg onload=alert(1)>", "mimeType": "text/html", "buffer": b"<b>"})
    expect(ann.log.get_by_role("link")).to_have_count(1)
    unharmed(ann, dialogs)


def test_links(server: Server, visit: Visit) -> None:
    """Only URLs of web pages become links; they open in a new tab, which can't reach this one."""
    ann = visit(server, "Ann")
    texts = {
        "see https://example.org/a?b=1&c=%20#d.": "https://example.org/a?b=1&c=%20#d",
        "(http://example.org/x)": "http://example.org/x",
        "HTTPS://EXAMPLE.ORG/Y, or not": "https://example.org/Y",
        "https://example.org/wiki/A_(b)": "https://example.org/wiki/A_(b)",
        "[https://example.org/z)].": "https://example.org/z",
        "javascript:alert(1)": None,
        "data:text/html,<script>alert(1)</script>": None,
        "file:///etc/passwd": None,
        "https://": None,
    }
    tell(server, list(texts))
    for text, href in texts.items():
        links = ann.messages.filter(has=ann.page.get_by_text(text, exact=True)).get_by_role("link")
        if not href:
            expect(links).to_have_count(0)
            continue
        expect(links).to_have_js_property("href", href)
        expect(links).to_have_attribute("target", "_blank")
        assert "noopener" in str(links.get_attribute("rel"))


MILLISECONDS = """text => {
    const start = performance.now();
    linked(text);
    return performance.now() - start;
}"""


def test_links_take_no_time_to_find(server: Server, visit: Visit) -> None:
    """Texts that took a time in proportion to the square of their length."""
    ann = visit(server)
    for tail in (")" * 300_000, "." * 300_000 + "a", "https://" * 40_000):
        took = ann.page.evaluate(MILLISECONDS, "https://example.org/" + tail)
        assert took < 5000, f"milliseconds for {tail[:3]}..."


INTRUDER = b"""<!doctype html><title>Another site</title><p role=status>trying</p><script>
const tell = text => document.querySelector("p").textContent = text;
const socket = new WebSocket("ws://localhost:" + location.hash.slice(1) + "/", "chat.v1");
socket.onopen = () => tell("let in");
socket.onerror = () => tell("refused");
</script>"""


@pytest.fixture
def other_site() -> Iterator[str]:
    """A page on another port, which is another origin."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/" else 204)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            if self.path == "/":
                self.wfile.write(INTRUDER)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as site:
        threading.Thread(target=site.serve_forever).start()
        yield f"http://localhost:{site.server_port}"
        site.shutdown()


@pytest.mark.parametrize("welcome", [False, True], ids=["refused", "with --origin"])
def test_foreign_origin(
    welcome: bool, serve: Serve, new_context: NewContext, other_site: str
) -> None:
    server = serve(HTTP, *(("--origin", other_site) if welcome else ()))
    page = new_context().new_page()
    page.goto(f"{other_site}/#{server.port}")
    expect(page.get_by_role("status")).to_have_text("let in" if welcome else "refused")


def test_nothing_of_anyone_else(server: Server, new_context: NewContext) -> None:
    """The page needs nothing but its server."""
    page = new_context().new_page()
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    page.goto(HTTP.url(server.port))
    expect(page.get_by_role("status")).to_contain_text("Connected")
    assert len(urls) >= 3
    ours = (f"http://localhost:{server.port}/", "data:")
    assert [url for url in urls if not url.startswith(ours)] == []

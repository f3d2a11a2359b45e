"""Proxies between a client and its server: HTTP CONNECT, SOCKS5, and which one to use."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import sys
from urllib.parse import SplitResult, unquote, urlsplit

from .engine.dial import Stream, connect, located
from .wire.opening import URL, basic

_SOCKS_ERRORS = (
    "|general failure|not allowed|network unreachable|host unreachable|connection refused"
    "|timed out|command not supported|address type not supported"
).split("|")


def tunnel(proxy: str, url: URL, deadline: float) -> socket.socket:
    """Return a socket that a proxy has connected to the server.

    Raises:
        OSError: The proxy can't be reached, or refuses.
        TimeoutError: The deadline has passed.
        ValueError: It isn't the URL of a proxy of a known kind.
    """
    parts = parse_proxy(proxy)
    port, ask = _KINDS[parts.scheme]
    sock = None
    try:
        sock = connect(parts.hostname or "", parts.port or port, deadline)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        ask(Stream(sock, deadline), url, user, password)
    except BaseException as error:
        if sock:
            sock.close()
        if isinstance(error, OSError):
            raise located(error, f"proxy {parts.hostname}") from error.__cause__
        raise
    return sock


def parse_proxy(proxy: str) -> SplitResult:
    """Return the parts of a proxy's URL. Without a scheme, it is an HTTP proxy.

    Raises:
        ValueError: It isn't the URL of a proxy of a known kind.
    """
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.scheme not in _KINDS or not parts.hostname:
        raise ValueError(f"a proxy's URL begins with http:// or socks5://, not {proxy!r}")
    return parts


def find_proxy(url: URL) -> str | None:
    """Return the proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY, or the system, have for *url*.

    There is none for this machine itself, as in browsers.
    """
    if url.is_loopback:
        return None
    named = any(name.lower().endswith("_proxy") for name in os.environ)
    if not named and sys.platform not in ("darwin", "win32"):
        return None
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 (it takes 40 ms)

    if proxy_bypass(url.authority):
        return None
    proxies = getproxies()
    return proxies.get("https" if url.secure else "http") or proxies.get("all")


def _ask_http(stream: Stream, url: URL, user: str, password: str) -> None:
    """Have an HTTP proxy connect to the server (RFC 9110 §9.3.6)."""
    lines = [f"CONNECT {url.authority} HTTP/1.1", f"Host: {url.authority}"]
    if user or password:
        lines.append(f"Proxy-Authorization: {basic(f'{user}:{password}')}")
    stream.send("\r\n".join([*lines, "", ""]).encode("latin-1"))
    response, rest = stream.read_response(1 << 14)
    if not 200 <= response.status <= 299 or rest:
        raise ConnectionError(f"it answered {response.status} {response.reason}".rstrip())


def _ask_socks(stream: Stream, url: URL, user: str, password: str) -> None:
    """Have a SOCKS5 proxy connect to the server, and look up its name (RFC 1928, RFC 1929)."""
    name, secret = user.encode(), password.encode()
    stream.send(b"\5\2\0\2" if name else b"\5\1\0")
    version, method = stream.read(2)
    if version != 5:
        raise ConnectionError("it doesn't speak SOCKS5")
    if method == 2 and name:
        stream.send(bytes((1, len(name))) + name + bytes((len(secret),)) + secret)
        if stream.read(2)[1]:
            raise ConnectionError("it refuses this user and password")
    elif method:
        raise ConnectionError("it wants another authentication")
    try:
        ip = ipaddress.ip_address(url.host)
        address = bytes((1 if ip.version == 4 else 4,)) + ip.packed
    except ValueError:
        host = url.host.encode("ascii")
        address = bytes((3, len(host))) + host
    stream.send(b"\5\1\0" + address + struct.pack("!H", url.port))
    _, status, _, kind = stream.read(4)
    if status:
        known = status < len(_SOCKS_ERRORS)
        raise ConnectionError(_SOCKS_ERRORS[status] if known else f"error {status}")
    size = {1: 4, 3: -1, 4: 16}.get(kind, 0)
    stream.read((stream.read(1)[0] if size < 0 else size) + 2)


_KINDS = {"http": (80, _ask_http), "socks5": (1080, _ask_socks), "socks5h": (1080, _ask_socks)}
"""The default port of each kind of proxy, and how it is asked."""

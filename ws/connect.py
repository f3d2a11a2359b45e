"""How a client gets a connection: addresses, proxies, TLS and the opening handshake.

It blocks, with one deadline for everything.
"""

from __future__ import annotations

import errno
import functools
import ipaddress
import os
import selectors
import socket
import ssl
import struct
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any, Mapping, NamedTuple, Sequence
from urllib.parse import unquote, urlsplit

from .engine.client import wait_for
from .engine.daemon import DaemonThread
from .engine.poll import READ, WRITE
from .engine.sockets import Client, PlainClient, TLSClient
from .wire.deflate import Compression, Deflate
from .wire.opening import REDIRECTS, URL, HandshakeRefused, Opening, ResponseReader, ServerResponse
from .wire.opening import basic, redirect, same_origin

NEXT_ADDRESS_SECONDS = 0.25
"""If an address hasn't answered for this long, the next one is tried as well (RFC 8305 §5)."""
MAX_REDIRECTS = 5
MAX_BODY_BYTES = 1 << 16
"""Of the content of a refusal, this much is kept."""
BODY_SECONDS = 1.0
"""The content of a refusal is awaited for this long."""

_IN_PROGRESS = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", 0))
_SOCKS_ERRORS = (
    "",
    "general failure",
    "not allowed",
    "network unreachable",
    "host unreachable",
    "connection refused",
    "timed out",
    "command not supported",
    "address type not supported",
)


class Dialled(NamedTuple):
    """A connection whose opening handshake is complete."""

    client: Client
    response: ServerResponse
    rest: bytes
    """What came after the response."""
    deflate: Deflate | None


class Dialler:
    """Connects to a server, as often as it is asked to. From any thread.

    Args:
        url: The server.
        headers: Further fields of the request.
        subprotocols: Names to offer.
        compression: What to offer, or None.
        context: The TLS context; None for a default one, which verifies the server's certificate.
        proxy: A proxy's URL, True for the environment's, or None.
        sock: A connected socket to use. It serves only once.
        max_head_size: Bytes that the head of an answer may have.
    """

    def __init__(
        self,
        url: URL,
        *,
        headers: Mapping[str, str],
        subprotocols: Sequence[str],
        compression: Compression | None,
        context: ssl.SSLContext | None,
        proxy: str | bool | None,
        sock: socket.socket | None,
        max_head_size: int,
    ) -> None:
        self.url: URL = url
        self._headers, self._subprotocols, self._compression = headers, subprotocols, compression
        self._context, self._proxy, self._sock = context, proxy, sock
        self._max_head_size = max_head_size

    def dial(self, timeout: float) -> Dialled:
        """Connect, and do the opening handshake.

        Raises:
            HandshakeRefused: The server has answered, but doesn't accept.
            OSError: There is no connection; the error says to which address.
            TimeoutError: It took more than *timeout* seconds.
        """
        deadline = time.monotonic() + timeout
        url, headers = self.url, self._headers
        for left in reversed(range(MAX_REDIRECTS + 1)):
            try:
                stream = Stream(self._connect(url, deadline), deadline)
                if url.secure:
                    stream.secure(self._context or _default_context(), url.host)
                return self._open(stream, url, headers)
            except HandshakeRefused as refusal:
                response = refusal.response
                location = response.headers.get("location")
                if not location or response.status not in REDIRECTS or self._sock or not left:
                    raise
                try:
                    target = redirect(url, location)
                except ValueError as error:
                    raise HandshakeRefused(response, str(error)) from None
                if not same_origin(url, target):
                    headers = _for_others(headers)
                url = target
            except TimeoutError:
                raise TimeoutError(f"{url} hasn't answered within {timeout:g} s") from None
        raise AssertionError  # the last round returns or raises

    def _connect(self, url: URL, deadline: float) -> socket.socket:
        """Return a socket that is connected to the server, through a proxy if there is one."""
        if self._sock:
            return self._sock
        if url.unix:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                sock.connect(url.unix)
            except OSError as error:
                sock.close()
                if isinstance(error, socket.timeout):
                    raise TimeoutError from None
                raise OSError(error.errno, f"{error.strerror}: {url.unix}") from None
            return sock
        proxy = find_proxy(url) if self._proxy is True else self._proxy
        if not proxy:
            return connect(url.host, url.port, deadline)
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        tunnel = {"http": _tunnel_http, "socks5": _tunnel_socks, "socks5h": _tunnel_socks}
        if parts.scheme not in tunnel or not parts.hostname:
            raise ValueError(f"a proxy's URL begins with http:// or socks5://, not {proxy!r}")
        sock = connect(parts.hostname, parts.port or _PROXY_PORTS[parts.scheme], deadline)
        try:
            user, password = unquote(parts.username or ""), unquote(parts.password or "")
            tunnel[parts.scheme](Stream(sock, deadline), url, user, password)
        except BaseException as error:
            sock.close()
            if isinstance(error, ConnectionError):
                raise ConnectionError(f"proxy {parts.hostname}: {error}") from error
            raise
        return sock

    def _open(self, stream: Stream, url: URL, headers: Mapping[str, str]) -> Dialled:
        opening = Opening(url, headers, self._subprotocols, self._compression)
        try:
            stream.send(opening.head)
            response, rest = stream.read_response(self._max_head_size)
            if response.status != 101:
                response.body = stream.read_body(response, rest)
            subprotocol, deflate = opening.check(response)
        except BaseException as error:
            stream.sock.close()
            if isinstance(error, ConnectionError):
                raise ConnectionError(f"{url}: {error}") from error
            raise
        client = stream.client()
        client.request, client.subprotocol = opening.request, subprotocol
        client.request.secure = url.secure
        return Dialled(client, response, rest, deflate)


def _for_others(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers without what only the server that was asked for may know."""
    secret = ("authorization", "cookie", "host")
    return {name: value for name, value in headers.items() if name.lower() not in secret}


@functools.lru_cache(maxsize=None)
def _default_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    context.sslsocket_class = TLSClient
    return context


class Stream:
    """A socket whose calls block until a deadline.

    Raises, from all methods:
        TimeoutError: The deadline has passed.
        OSError: The connection is lost.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        sock.setblocking(False)
        self.sock: socket.socket = sock
        self.deadline: float = deadline

    def _wait(self, mask: int) -> None:
        if not wait_for(self.sock.fileno(), mask, self.deadline - time.monotonic()):
            if time.monotonic() >= self.deadline:
                raise TimeoutError

    def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Do the TLS handshake, and check that the certificate is for this host."""
        context.sslsocket_class = TLSClient
        try:
            self.sock = context.wrap_socket(
                self.sock, server_hostname=host, do_handshake_on_connect=False
            )
            while True:
                try:
                    self.sock.do_handshake()
                    return
                except ssl.SSLWantReadError:
                    self._wait(READ)
                except ssl.SSLWantWriteError:
                    self._wait(WRITE)
        except BaseException:
            self.sock.close()
            raise

    def send(self, data: bytes) -> None:
        """Send all of *data*."""
        while data:
            try:
                data = data[self.sock.send(data) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(WRITE)
            except ssl.SSLWantReadError:
                self._wait(READ)

    def receive(self, size: int = 1 << 14) -> bytes:
        """Return what has come, *size* bytes at most.

        Raises:
            ConnectionResetError: The other end has ended the connection.
        """
        while True:
            try:
                data = self.sock.recv(size)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(READ)
            except ssl.SSLWantWriteError:
                self._wait(WRITE)
            else:
                if not data:
                    raise ConnectionResetError("it has ended the connection without an answer")
                return data

    def read(self, size: int) -> bytes:
        """Return exactly *size* bytes."""
        data = b""
        while len(data) < size:
            data += self.receive(size - len(data))
        return data

    def read_response(self, limit: int) -> tuple[ServerResponse, bytes]:
        """Return a response without its content, and what came after it."""
        reader = ResponseReader(limit)
        while True:
            complete = reader.feed(self.receive())
            if complete:
                return complete

    def read_body(self, response: ServerResponse, begun: bytes) -> bytes:
        """Return the beginning of a response's content, as much as comes soon."""
        length = response.headers.get("content-length", "")
        size = min(int(length), MAX_BODY_BYTES) if length.isdecimal() else MAX_BODY_BYTES
        self.deadline = min(self.deadline, time.monotonic() + BODY_SECONDS)
        with suppress(OSError):
            while len(begun) < size:
                begun += self.receive(size - len(begun))
        return begun[:size]

    def client(self) -> Client:
        """Return the socket as a client's. This object is of no use any more."""
        if isinstance(self.sock, Client):
            return self.sock
        kind = int(self.sock.family), int(self.sock.type), self.sock.proto
        return PlainClient(*kind, fileno=self.sock.detach())


# Addresses


def connect(host: str, port: int, deadline: float) -> socket.socket:
    """Connect to the first address of a host that answers: "Happy Eyeballs" (RFC 8305).

    Raises:
        OSError: None answers, or the host has none.
        TimeoutError: The deadline has passed.
    """
    waiting = deque(interleave(resolve(host, port, deadline)))
    tried: list[str] = []
    error: OSError | None = None
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or selector.get_map():
                if waiting:
                    family, kind, proto, _, address = waiting.popleft()
                    tried.append(address[0])
                    try:
                        _begin(selector, socket.socket(family, kind, proto), address)
                    except OSError as problem:  # such as no route, or no IPv6 at all
                        error = problem
                        continue
                remaining = deadline - time.monotonic()
                pause = min(remaining, NEXT_ADDRESS_SECONDS) if waiting else remaining
                for key, _ in selector.select(max(0.0, pause)):
                    sock: socket.socket = key.fileobj  # type: ignore[assignment]
                    selector.unregister(sock)
                    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not number and sock.getsockname() == sock.getpeername():
                        number = errno.ECONNREFUSED  # nobody listens: connected to itself
                    if not number:
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        return sock
                    sock.close()
                    error = OSError(number, os.strerror(number))
                if time.monotonic() >= deadline:
                    raise TimeoutError
        finally:
            for key in list(selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]
    assert error
    raise OSError(error.errno, f"{error.strerror}: {host}:{port} ({', '.join(tried)})")


def _begin(selector: selectors.BaseSelector, sock: socket.socket, address: Any) -> None:
    try:
        sock.setblocking(False)
        number = sock.connect_ex(address)
        if number not in _IN_PROGRESS:
            raise OSError(number, os.strerror(number))
        selector.register(sock, selectors.EVENT_WRITE)
    except BaseException:
        sock.close()
        raise


def interleave(addresses: Sequence[Any]) -> list[Any]:
    """Return the addresses with the two families by turns, the first one's first (RFC 8305 §4)."""
    first = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    mixed = []
    while first or others:
        mixed += first[:1] + others[:1]
        del first[:1], others[:1]
    return mixed


def resolve(host: str, port: int, deadline: float) -> Sequence[Any]:
    """Return the addresses of a host, as getaddrinfo has them.

    Raises:
        OSError: There are none.
        TimeoutError: The deadline has passed. The system's call has none, so a thread waits for it.
    """
    with suppress(ValueError):
        ipaddress.ip_address(host.partition("%")[0])
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    found: list[Any] = []
    answered = threading.Event()

    def ask() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)
        answered.set()

    DaemonThread(ask, "ws-resolve").start()
    if not answered.wait(max(0.0, deadline - time.monotonic())):
        raise TimeoutError
    if isinstance(found[0], socket.gaierror):
        raise socket.gaierror(found[0].errno, f"{found[0].strerror}: {host}")
    if isinstance(found[0], Exception):
        raise OSError(f"{found[0]}: {host}")
    addresses: Sequence[Any] = found[0]
    return addresses


# Proxies

_PROXY_PORTS = {"http": 80, "socks5": 1080, "socks5h": 1080}


def find_proxy(url: URL) -> str | None:
    """Return the proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY, or the system, have for *url*."""
    named = any(name.lower().endswith("_proxy") for name in os.environ)
    if not named and sys.platform not in ("darwin", "win32"):
        return None
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 (it takes 40 ms)

    if proxy_bypass(url.authority):
        return None
    proxies = getproxies()
    return proxies.get("https" if url.secure else "http") or proxies.get("all")


def _tunnel_http(stream: Stream, url: URL, user: str, password: str) -> None:
    """Have an HTTP proxy connect to the server (RFC 9110 §9.3.6)."""
    lines = [f"CONNECT {url.authority} HTTP/1.1", f"Host: {url.authority}"]
    if user or password:
        lines.append(f"Proxy-Authorization: {basic(f'{user}:{password}')}")
    stream.send("\r\n".join([*lines, "", ""]).encode("latin-1"))
    response, rest = stream.read_response(1 << 14)
    if not 200 <= response.status <= 299 or rest:
        raise ConnectionError(f"it answered {response.status} {response.reason}".rstrip())


def _tunnel_socks(stream: Stream, url: URL, user: str, password: str) -> None:
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

"""How a client gets a connection: sockets, proxies, TLS, the opening handshake and redirections.

It blocks, with one deadline for everything.
"""

from __future__ import annotations

import functools
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Mapping, NamedTuple, Sequence

from .engine.dial import Stream, connect, located
from .engine.sockets import Client, TLSClient
from .tunnel import find_proxy, tunnel
from .wire.deflate import Compression, Deflate
from .wire.opening import REDIRECTS, URL, HandshakeRefused, Opening, ServerResponse
from .wire.opening import redirect, same_origin

MAX_REDIRECTS = 5


class Dialled(NamedTuple):
    """A connection whose opening handshake is complete."""

    client: Client
    response: ServerResponse
    rest: bytes
    """What came after the response."""
    deflate: Deflate | None


@dataclass(frozen=True)
class Dialler:
    """Connects to a server, as often as it is asked to. From any thread."""

    url: URL
    headers: Mapping[str, str]
    """Further fields of the request."""
    subprotocols: Sequence[str]
    compression: Compression | None
    """What to offer."""
    context: ssl.SSLContext | None
    """The TLS context; None for a default one, which verifies the server's certificate."""
    proxy: str | bool | None
    """A proxy's URL, True for the environment's, or None."""
    sock: socket.socket | None
    """A connected socket to use. It serves only once."""
    max_head_size: int
    """Bytes that the head of an answer may have."""

    def dial(self, timeout: float) -> Dialled:
        """Connect, and do the opening handshake.

        Raises:
            HandshakeRefused: The server has answered, but doesn't accept.
            OSError: There is no connection; the error says to which address.
            TimeoutError: It took more than *timeout* seconds.
        """
        deadline = time.monotonic() + timeout
        url, headers = self.url, self.headers
        for left in reversed(range(MAX_REDIRECTS + 1)):
            try:
                stream = Stream(self._connect(url, deadline), deadline)
                return self._open(stream, url, headers)
            except HandshakeRefused as refusal:
                response = refusal.response
                location = response.headers.get("location")
                if not location or response.status not in REDIRECTS or self.sock or not left:
                    raise
                try:
                    target = redirect(url, location)
                except ValueError as error:
                    raise HandshakeRefused(response, str(error)) from None
                if not same_origin(url, target):
                    headers = _for_others(headers)  # defence: redirect-secrets
                url = target
            except TimeoutError:
                raise TimeoutError(f"{url} hasn't answered within {timeout:g} s") from None
        raise AssertionError  # the last round returns or raises

    def _connect(self, url: URL, deadline: float) -> socket.socket:
        """Return a socket that is connected to the server, through a proxy if there is one."""
        if self.sock:
            return self.sock
        if url.unix:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                sock.connect(url.unix)
            except OSError as error:
                sock.close()
                if isinstance(error, socket.timeout):
                    raise TimeoutError from None
                raise located(error, url.unix) from None
            return sock
        proxy = find_proxy(url) if self.proxy is True else self.proxy
        if proxy:
            return tunnel(proxy, url, deadline)
        return connect(url.host, url.port, deadline)

    def _open(self, stream: Stream, url: URL, headers: Mapping[str, str]) -> Dialled:
        opening = Opening(url, headers, self.subprotocols, self.compression)
        try:
            if url.secure:
                stream.secure(self.context or _default_context(), url.host)
            stream.send(opening.head)
            response, rest = stream.read_response(self.max_head_size)
            if response.status != 101:
                response.body = stream.read_body(response, rest)
            subprotocol, deflate = opening.check(response)
        except BaseException as error:
            stream.sock.close()
            if isinstance(error, OSError):
                raise located(error, str(url)) from error.__cause__
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
    context = ssl.create_default_context()  # defence: certificate
    context.set_alpn_protocols(["http/1.1"])
    context.sslsocket_class = TLSClient
    return context

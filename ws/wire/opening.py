"""The client's side of the opening handshake (RFC 6455 §4.1): URL, request, check of the answer."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Mapping, Sequence
from urllib.parse import quote, unquote, urljoin, urlsplit

from .deflate import NAME, Compression, Deflate, agree, offer
from .handshake import GUID, parse_extensions
from .http11 import DIGITS, HandshakeError, Headers, Request, is_token, parse_fields, split_head

REDIRECTS = frozenset((301, 302, 303, 307, 308))
"""The statuses with a Location to go to (RFC 9110 §15.4)."""

_SCHEMES = {"ws": 80, "wss": 443, "http": 80, "https": 443}
_RESERVED = frozenset("connection content-length transfer-encoding upgrade".split())
_STATUS_LINES = "HTTP/1.0 ", "HTTP/1.1 "


@dataclass(frozen=True)
class URL:
    """A WebSocket's URL (RFC 6455 §3)."""

    secure: bool
    host: str
    """A name in ASCII, or an IP address without brackets."""
    port: int
    resource: str
    """The path with the query, percent-encoded."""
    credentials: str = ""
    """The user's name and password as "name:password", or ""."""
    unix: str = ""
    """The path of a Unix socket, in place of host and port."""

    @property
    def authority(self) -> str:
        """The host and the port, as CONNECT has them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_field(self) -> str:
        """The host, and the port unless it is the scheme's own (RFC 9110 §7.2)."""
        return self.authority.rpartition(":")[0] if self.port == self._default else self.authority

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, by name or by an address (RFC 6761 §6.3)."""
        with suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return self.host == "localhost"

    @property
    def _default(self) -> int:
        return 443 if self.secure else 80

    def __str__(self) -> str:
        if self.unix:
            return f"ws+unix://{self.unix}"
        return f"{'wss' if self.secure else 'ws'}://{self.host_field}{self.resource}"


def parse_url(text: str) -> URL:
    """Parse a URL: ws, wss, http (for ws), https (for wss), or ws+unix with a socket's path.

    Raises:
        ValueError: It isn't the URL of a WebSocket.
    """
    if not text.isprintable() or " " in text or "#" in text:  # RFC 6455 §3: no fragment
        raise ValueError(f"a WebSocket's URL has no spaces and no fragment: {text!r}")
    parts = urlsplit(text)
    if parts.scheme == "ws+unix" and parts.path:
        return URL(False, "localhost", 80, "/", unix=parts.netloc + parts.path)
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise ValueError(f"a WebSocket's URL begins with ws://host or wss://host: {text!r}")
    host = parts.hostname
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    resource = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    if parts.query:
        resource += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~?[]")
    named = parts.username is not None
    credentials = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" * named
    port = _SCHEMES[parts.scheme] if parts.port is None else parts.port
    return URL(parts.scheme in ("wss", "https"), host, port, resource, credentials)


def redirect(url: URL, location: str) -> URL:
    """Return where an answer to a request for *url* sends the client.

    Raises:
        ValueError: It isn't a WebSocket's URL, or TLS would be lost.
    """
    base = f"{'https' if url.secure else 'http'}://{url.authority}{url.resource}"
    target = parse_url(urljoin(base, location))
    if url.secure and not target.secure:  # defence: redirect-downgrade
        raise ValueError(f"redirected to {target}, without TLS")
    if not same_origin(url, target):
        return target
    return replace(target, credentials=target.credentials or url.credentials, unix=url.unix)


def same_origin(one: URL, other: URL) -> bool:
    """Say whether two URLs have the same scheme, host and port (RFC 6454)."""
    return (one.secure, one.authority) == (other.secure, other.authority)


class ServerResponse:
    """A server's HTTP response to the handshake.

    Attributes:
        status: The status code.
        reason: The words after it.
        headers: A mapping that ignores the case of names. Repeated fields are joined by commas.
        body: The beginning of the content, if the handshake was refused.
    """

    __slots__ = ("body", "headers", "reason", "status")

    def __init__(self, status: int, reason: str, headers: Headers, body: bytes = b"") -> None:
        self.status: int = status
        self.reason: str = reason
        self.headers: Headers = headers
        self.body: bytes = body

    def __repr__(self) -> str:
        return f"<ServerResponse {self.status} {self.reason}>"


class HandshakeRefused(Exception):
    """The server has refused the handshake, or its answer isn't a valid one.

    Attributes:
        response: The server's response.
    """

    def __init__(self, response: ServerResponse, why: str) -> None:
        super().__init__(why)
        self.response: ServerResponse = response


class ResponseReader:
    """Collects a response head up to its empty line. Passes over interim ones (RFC 9110 §15.2).

    Args:
        limit: Bytes that all heads together may have.
    """

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> tuple[ServerResponse, bytes] | None:
        """Add bytes. Return None until the response's head is complete, then it and the rest.

        Raises:
            ConnectionError: The head, or its incomplete beginning, is malformed or too long.
        """
        buffer = self._buffer
        searched = max(0, len(buffer) - 3)
        buffer += data
        while True:
            end = buffer.find(b"\r\n\r\n", searched)
            # Without the empty line, up to three bytes may be its beginning.
            if (end if end >= 0 else len(buffer) - 3) > self._limit:  # defence: answer-size
                raise ConnectionError(f"it answered with a head of over {self._limit} bytes")
            if end < 0:
                if not b"HTTP/1.".startswith(buffer[:7]):
                    raise ConnectionError("it doesn't speak HTTP/1.1")
                return None
            response = parse_response(bytes(buffer[:end]))
            del buffer[: end + 4]
            if response.status == 101 or response.status >= 200:
                return response, bytes(buffer)
            self._limit -= end + 4
            searched = 0


def parse_response(head: bytes) -> ServerResponse:
    """Parse a response head without its empty line, strictly (RFC 9112 §4, §5).

    Raises:
        ConnectionError: It is malformed.
    """
    try:
        first, lines = split_head(head)
        headers = parse_fields(lines)
    except HandshakeError as error:
        raise ConnectionError(f"it answered with a wrong head: {error.args[1]}") from None
    digits, _, reason = first[9:].partition(" ")
    if first[:9] not in _STATUS_LINES or len(digits) != 3 or digits.strip(DIGITS):
        raise ConnectionError("it doesn't speak HTTP/1.1")
    return ServerResponse(int(digits), reason, headers)


def check_fields(headers: Mapping[str, str]) -> None:
    """Check a program's own header fields for the request.

    Raises:
        ValueError: One is malformed, or is one that only the client may set.
    """
    for name, value in headers.items():
        if not is_token(name) or any(c in value for c in "\r\n\0"):
            raise ValueError(f"not a header field: {name!r}: {value!r}")
        value.encode("latin-1")  # a UnicodeEncodeError is a ValueError
        if name.lower() in _RESERVED or name.lower().startswith("sec-websocket-"):
            raise ValueError(f"{name} is for the client to set")


class Opening:
    """One opening handshake: the request, and what the answer must be.

    Args:
        url: What to ask for.
        fields: Header fields, as `check_fields` allows them; they replace those of the same name.
        subprotocols: Names to offer, the best first (RFC 6455 §1.9).
        compression: Settings of permessage-deflate to offer, or None.
    """

    def __init__(
        self,
        url: URL,
        fields: Mapping[str, str],
        subprotocols: Sequence[str],
        compression: Compression | None,
    ) -> None:
        self._subprotocols, self._compression = subprotocols, compression
        key = base64.b64encode(os.urandom(16))
        self._accept = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode("ascii")
        named = {
            "Host": url.host_field,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": key.decode("ascii"),
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Protocol": ", ".join(subprotocols),
            "Sec-WebSocket-Extensions": offer(compression) if compression else "",
            "Authorization": basic(url.credentials) if url.credentials else "",
        }
        given = [name.lower() for name in fields]
        kept = {name: value for name, value in named.items() if name.lower() not in given}
        headers, lines = Headers(), [f"GET {url.resource} HTTP/1.1\r\n"]
        for name, value in {**kept, **fields}.items():
            if value:
                headers.add(name, value)
                lines.append(f"{name}: {value}\r\n")
        self.request: Request = Request("GET", url.resource, "HTTP/1.1", headers)
        """The request."""
        self.head: bytes = "".join([*lines, "\r\n"]).encode("latin-1")
        """Its bytes."""

    def check(self, response: ServerResponse) -> tuple[str | None, Deflate | None]:
        """Check the answer (RFC 6455 §4.1). Return the subprotocol and the extension agreed on.

        Raises:
            HandshakeRefused: The server refuses, or has broken the protocol.
        """
        headers = response.headers
        subprotocol = headers.get("sec-websocket-protocol")
        if response.status != 101:
            raise HandshakeRefused(
                response, f"the server answered {response.status} {response.reason}".rstrip()
            )
        for wrong, valid in (
            ("Upgrade", headers.get("upgrade", "").lower() == "websocket"),
            ("Connection", headers.has_token("connection", "upgrade")),
            ("Sec-WebSocket-Accept", headers.get("sec-websocket-accept") == self._accept),
            ("Sec-WebSocket-Protocol", subprotocol is None or subprotocol in self._subprotocols),
        ):
            if not valid:  # defence: answer-checks
                raise HandshakeRefused(response, f"the server answered with a wrong {wrong}")
        return subprotocol, self._agree(response)

    def _agree(self, response: ServerResponse) -> Deflate | None:
        try:
            answers = parse_extensions(response.headers.get("sec-websocket-extensions", ""))
        except HandshakeError:
            answers = [("", [])]
        if not answers:
            return None
        deflate = None
        if self._compression and len(answers) == 1 and answers[0][0].lower() == NAME:
            deflate = agree(answers[0][1], self._compression)
        if deflate is None:  # defence: extension-asked
            raise HandshakeRefused(response, "the server answered with a wrong extension")
        return deflate


def basic(credentials: str) -> str:
    """Return the value of Authorization for "name:password" (RFC 7617)."""
    return "Basic " + base64.b64encode(credentials.encode()).decode("ascii")

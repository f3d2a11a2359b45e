"""The part of HTTP/1.1 that a handshake needs: request heads in, responses out (RFC 9112)."""

from __future__ import annotations

import http
from sys import getsizeof
from types import MappingProxyType
from typing import Any, Iterable, Iterator, Mapping, Sequence
from urllib.parse import parse_qsl, unquote, urlsplit

MAX_TARGET_BYTES = 8192
"""Longest request target. A longer one is answered with 414."""
MAX_FIELDS = 100  # defence: field-count
"""Most header fields in one request. One more is answered with 431."""
MAX_MEMBERS = 100  # defence: member-count
"""Most members of a field that is a list, empty ones included. One more is answered with 400."""
MAX_EMPTY_LINES = 4
"""Most empty lines before a request, which RFC 9112 §2.2 asks servers to ignore."""
MAX_HOST_LENGTH = 261
"""Longest Host: a name of 255 octets (RFC 1035 §2.3.4), and a port."""
SMALL_BODY_BYTES = 1 << 14
"""A body of up to this size is sent in one piece with its head."""
DIGITS = "0123456789"
TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""RFC 9110 §5.6.2."""

_TOKEN_BYTES = TOKEN_CHARACTERS.encode()
_HEAD_BYTES = b"\t" + bytes(octet for octet in range(32, 256) if octet != 127)
"""What the lines of a head may have: no other control characters (RFC 9110 §5.5)."""
_HOST_CHARACTERS = "-._~%!$&'()*+,;=0123456789abcdefghijklmnopqrstuvwxyz"
"""Characters of a name, percent-encoded or not (RFC 3986 §3.2.2)."""
_LISTS = tuple(
    "connection upgrade sec-websocket-protocol x-forwarded-for x-forwarded-proto".split()
)
_HIGHER_VERSIONS = {f"{major}.{minor}" for major in range(1, 10) for minor in range(10)}
_SINGLETONS = frozenset(
    "host origin authorization content-length sec-websocket-key sec-websocket-version".split()
)
_RESERVED = frozenset("connection content-length transfer-encoding sec-websocket-accept".split())
_RESERVED_101 = _RESERVED | {"upgrade", "sec-websocket-extensions", "sec-websocket-protocol"}
_PHRASES = {int(status): status.phrase for status in http.HTTPStatus}
_WITHOUT_BODY = (101, 204, 205, 304)  # RFC 9110 §8.6, §15


class Headers(Mapping[str, str]):
    """Header fields by name, whatever its case. Repeated fields are joined by commas.

    Args:
        fields: The first fields, by name in lower case.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: dict[str, str] | None = None) -> None:
        self._fields: dict[str, str] = fields or {}

    def add(self, name: str, value: str) -> None:
        """Add one field line (RFC 9110 §5.3)."""
        name = name.lower()
        if name in self._fields:
            value = self._fields[name] + ("; " if name == "cookie" else ", ") + value
        self._fields[name] = value

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def get(self, name: str, default: Any = None) -> Any:
        return self._fields.get(name.lower(), default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def tokens(self, name: str) -> Sequence[str]:
        """Return the members of a comma-separated field, with their case kept."""
        value = self.get(name, "")
        strip = str.strip if value.isascii() else _strip
        return [token for token in map(strip, value.split(",")) if token]  # defence: linear-fields

    def has_token(self, name: str, token: str) -> bool:
        """Say whether *token* is a member of a field, whatever its case."""
        return token in [member.lower() for member in self.tokens(name)]  # defence: token-whole


class Response:
    """An HTTP response: to a plain request, or to refuse a handshake.

    One response may answer any number of requests, in any threads. Don't change it meanwhile.

    Args:
        status: From 200 to 599. Or 101, to accept the WebSocket with these *headers* as well.
        body: The content. A str is sent as UTF-8.
        headers: Header fields, besides those that the server sets.
        content_type: The Content-Type, unless *headers* has one.

    Raises:
        ValueError: The status is out of range, a header is malformed, or a header is one that
            only the server may set.
    """

    def __init__(
        self,
        status: int,
        body: str | bytes = b"",
        headers: Mapping[str, str] | None = None,
        content_type: str = "text/plain; charset=utf-8",
    ) -> None:
        if status != 101 and not 200 <= status <= 599:
            raise ValueError(f"status must be 101 or from 200 to 599, not {status}")
        fields = dict(headers or {})
        if status not in _WITHOUT_BODY and "content-type" not in map(str.lower, fields):
            fields = {"Content-Type": content_type, **fields}
        for name, value in fields.items():
            if not is_token(name) or any(c in value for c in "\r\n\0"):  # defence: header-injection
                raise ValueError(f"not a header field: {name!r}: {value!r}")
            if name.lower() in (_RESERVED_101 if status == 101 else _RESERVED):
                raise ValueError(f"{name} is for the server to set")
        self.status = status
        self.body: bytes = body.encode() if isinstance(body, str) else body
        self.headers: Mapping[str, str] = MappingProxyType(fields)  # stays as checked

    def encode(self, method: str = "GET") -> Sequence[bytes]:
        """Return what to send, in pieces. There is no body if *method* or the status allows none.

        A large body is a piece by itself, the same object each time. So it takes memory once,
        however many peers are slow to read it.
        """
        fields = dict(self.headers)
        upgrade = "upgrade" in map(str.lower, fields)
        bodiless = self.status in _WITHOUT_BODY
        if not bodiless:
            fields["Content-Length"] = str(len(self.body))
        fields["Connection"] = "close, Upgrade" if upgrade else "close"  # RFC 9110 §7.8
        head, body = encode_head(self.status, fields), self.body
        if bodiless or method == "HEAD":
            return (head,)
        if len(body) > SMALL_BODY_BYTES:  # defence: shared-body
            return head, body
        return (head + body,)


class HandshakeError(Exception):
    """The request is refused: answer it with `response`, then close."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None):
        super().__init__(status, reason)
        self.response: Response = Response(status, reason + "\n", headers)


class Request:
    """A client's HTTP request.

    No lock guards the attributes. The library doesn't change them once `onrequest` was called.

    Attributes:
        method: The method as sent, in its own case.
        target: The request target as sent: the path with the query.
        version: "HTTP/1.1" or "HTTP/1.0".
        headers: A mapping that ignores the case of names. Repeated fields are joined by commas.
        address: The client's address, as `client.getpeername()` returns it.
        secure: Whether the client used TLS; a trusted proxy may report it.
        user: The name that `basic_auth` has checked, or None.
        data: A dict for your own use. `client.data` is the same dict.
        offers: The extensions that the client offers, each with its parameters: (name, value) or
            (name, None). Empty unless it asks for a WebSocket (RFC 6455 §9.1).
    """

    __slots__ = ("address data headers method offers secure target user version").split()

    def __init__(self, method: str, target: str, version: str, headers: Headers) -> None:
        self.method: str = method
        self.target: str = target
        self.version: str = version
        self.headers: Headers = headers
        self.address: Any = None
        self.secure: bool = False
        self.user: str | None = None
        self.offers: Sequence[tuple[str, Sequence[tuple[str, str | None]]]] = ()
        self.data: dict[Any, Any] = {}

    @property
    def path(self) -> str:
        """The path, percent-decoded, without the query."""
        path = self.target.partition("?")[0]
        return unquote(path if path[0] in "/*" else urlsplit(path).path or "/")

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters by name. The last one counts if a name is repeated."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @property
    def cookies(self) -> dict[str, str]:
        """Cookies by name (RFC 6265 §4.2)."""
        pairs = (pair.partition("=") for pair in self.headers.get("cookie", "").split(";"))
        return {name.strip(): value.strip().strip('"') for name, equals, value in pairs if equals}

    @property
    def is_upgrade(self) -> bool:
        """Whether this asks for a WebSocket rather than for a page (RFC 9110 §7.8)."""
        return self.version == "HTTP/1.1" and self.headers.has_token("upgrade", "websocket")

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target}>"


class RequestReader:
    """Collects a request head up to its empty line.

    Args:
        limit: Bytes that the head may have.
    """

    __slots__ = ("_buffer", "_empty_lines", "_limit")

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray()
        self._empty_lines = 0
        self._limit = limit

    @property
    def held(self) -> int:
        """Bytes of memory that the head takes so far."""
        return getsizeof(self._buffer)

    def feed(self, data: bytes) -> tuple[Request, bytes] | None:
        """Add bytes. Return None until the request is complete, then it and the bytes after it.

        Raises:
            HandshakeError: The head, or its incomplete beginning, is malformed or too long.
        """
        buffer = self._buffer
        searched = max(0, len(buffer) - 3)
        buffer += data
        while buffer.startswith(b"\r\n"):  # RFC 9112 §2.2
            self._empty_lines += 1
            if self._empty_lines > MAX_EMPTY_LINES:  # defence: empty-lines
                raise HandshakeError(400, f"over {MAX_EMPTY_LINES} empty lines before a request")
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n", searched)
        if 0 <= end <= self._limit:
            return parse_request(bytes(buffer[:end])), bytes(buffer[end + 4 :])
        if buffer[:1] == b"\x16":
            raise HandshakeError(400, "this port doesn't speak TLS: use ws:// or http://")
        # With such line ends, the empty line never comes.
        pairs = buffer.count(b"\r\n", max(0, searched - 1), self._limit)
        if buffer.count(b"\n", searched, self._limit) > pairs:  # defence: bare-newline
            raise HandshakeError(400, "lines must end with CR and LF")
        # Without the empty line, up to three bytes may be its beginning.
        if end >= 0 or len(buffer) - 3 > self._limit:  # defence: head-size
            if buffer.find(b"\r\n", 0, self._limit) < 0:
                raise HandshakeError(414, f"request line of over {self._limit} bytes")
            raise HandshakeError(431, f"request head of over {self._limit} bytes")
        return None


def parse_request(head: bytes) -> Request:
    """Parse a request head without its empty line, strictly (RFC 9112 §3, §5).

    Raises:
        HandshakeError: The head is malformed, or too large.
    """
    start, lines = split_head(head)
    parts = start.split(" ", 3)
    if len(parts) != 3 or not parts[1] or not is_token(parts[0]):
        raise HandshakeError(400, "malformed request line")
    method, target, version = parts
    if len(target) > MAX_TARGET_BYTES:
        raise HandshakeError(414, f"request target of over {MAX_TARGET_BYTES} bytes")
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        if version[:5] == "HTTP/" and version[5:] in _HIGHER_VERSIONS:
            raise HandshakeError(505, "use HTTP/1.1")
        raise HandshakeError(400, "malformed HTTP version")
    if not target.isascii() or "\t" in target or "#" in target:  # defence: target
        raise HandshakeError(400, "request target must be printable ASCII without a fragment")
    authority = None
    if target == "*" and method != "OPTIONS":  # RFC 9112 §3.2.4
        raise HandshakeError(400, "the target * is for OPTIONS")
    if target[0] != "/" and target != "*":  # absolute-form
        try:
            scheme, authority, *_ = urlsplit(target.lower())
            if scheme not in ("http", "https"):
                raise ValueError
        except ValueError:
            raise HandshakeError(400, "malformed request target") from None
    headers = parse_fields(lines)
    host = headers.get("host", "").lower()
    if not is_host(host) if host else version == "HTTP/1.1":
        raise HandshakeError(400, "missing or malformed Host")
    if authority not in (None, host):  # or server and proxy may disagree on the host
        raise HandshakeError(400, "Host differs from the request target")
    return Request(method, target, version, headers)


def split_head(head: bytes) -> tuple[str, Sequence[str]]:
    """Return the first line of a head without its empty line, and the others.

    Raises:
        HandshakeError: There are too many, or there is a control character in one.
    """
    start, *lines = head.decode("latin-1").split("\r\n", MAX_FIELDS + 1)
    if len(lines) > MAX_FIELDS:
        raise HandshakeError(431, f"over {MAX_FIELDS} header fields")
    text = "".join([start, *lines]).encode("latin-1")
    if text.translate(None, _HEAD_BYTES):  # defence: line-ends
        raise HandshakeError(400, "control character in the head")
    return start, lines


def parse_fields(lines: Iterable[str]) -> Headers:
    """Parse the field lines of a head (RFC 9112 §5).

    Raises:
        HandshakeError: One is malformed, or repeated although it may not be.
    """
    fields: dict[str, str] = {}
    repeated: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name:
            raise HandshakeError(400, "malformed header field")
        name, value = name.lower(), _strip(value)
        if name not in fields:
            fields[name] = value
            continue
        if name in _SINGLETONS:  # defence: singletons
            raise HandshakeError(400, f"repeated header field {name}")
        repeated.setdefault(name, [fields[name]]).append(value)
    if fields and not is_token("".join(fields)):  # defence: field-name
        raise HandshakeError(400, "malformed header field")
    for name, values in repeated.items():  # RFC 9110 §5.3
        fields[name] = ("; " if name == "cookie" else ", ").join(values)
    for name in _LISTS:
        if fields.get(name, "").count(",") >= MAX_MEMBERS:
            raise HandshakeError(400, f"{name} has over {MAX_MEMBERS} members")
    return Headers(fields)


def _strip(value: str) -> str:
    """Strip spaces and tabs, of which there may be many. Other controls were refused."""
    if value.isascii():
        return value.strip()
    return value.encode("latin-1").strip().decode("latin-1")  # keeps U+00A0


def split_host(host: str, default_port: str = "") -> tuple[str, str]:
    """Return the name in a Host, in lower case and without a final dot, and the port."""
    name, colon, port = host.lower().rpartition(":")
    if not colon or port.endswith("]"):
        name, port = host.lower(), ""
    return name[:-1] if name.endswith(".") else name, port or default_port


def is_host(host: str) -> bool:
    """Say whether *host* is a name or an IP address, perhaps with a port (RFC 9110 §7.2)."""
    name, port = split_host(host[: MAX_HOST_LENGTH + 1])
    characters = _HOST_CHARACTERS
    if name[:1] == "[" and name[-1:] == "]":
        name, characters = name[1:-1], characters + ":"
    is_short = len(host) <= MAX_HOST_LENGTH
    return is_short and bool(name) and not name.strip(characters) and not port.strip(DIGITS)


def encode_head(status: int, fields: Mapping[str, str]) -> bytes:
    """Return the head of a response, with its empty line."""
    lines = "".join([f"{name}: {fields[name]}\r\n" for name in fields])
    head = f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n{lines}\r\n"
    return head.encode("latin-1", "replace")


def is_token(name: str) -> bool:
    """Say whether *name* is a token, as names and parameters must be (RFC 9110 §5.6.2)."""
    return bool(name) and name.isascii() and not name.encode().translate(None, _TOKEN_BYTES)

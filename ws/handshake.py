"""The opening handshake, RFC 6455 §4: a request head in, a decision and response bytes out."""

from __future__ import annotations

import base64
import hashlib
import http
from typing import Any, Iterator, Mapping, Sequence
from urllib.parse import parse_qsl, unquote, urlsplit

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Fixed by RFC 6455 §1.3."""
MAX_TARGET = 8192
"""Longest request target, in bytes; 414 beyond."""
MAX_FIELDS = 100
"""Most header fields in one request; 431 beyond."""

_TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_HOST = _TOKEN + "(),;=[]:"
_HIGHER_VERSIONS = {f"{major}.{minor}" for major in range(1, 10) for minor in range(10)}
_SINGLETONS = frozenset(
    ("host", "origin", "sec-websocket-key", "sec-websocket-version", "content-length")
)
_OWN = frozenset(("connection", "content-length", "transfer-encoding", "sec-websocket-accept"))
_PORTS = {"http": ":80", "ws": ":80", "https": ":443", "wss": ":443"}


class Headers(Mapping[str, str]):
    """Header fields; names compare without regard to case, repeated ones are joined by commas."""

    __slots__ = ("_fields",)

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}

    def add(self, name: str, value: str) -> None:
        """Add one field line (RFC 9110 §5.3)."""
        name = name.lower()
        if name in self._fields:
            value = self._fields[name] + ("; " if name == "cookie" else ", ") + value
        self._fields[name] = value

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def tokens(self, name: str) -> Sequence[str]:
        """Return the members of a comma-separated field, as they stand."""
        return [token.strip(" \t") for token in self.get(name, "").split(",") if token.strip(" \t")]

    def has_token(self, name: str, token: str) -> bool:
        """Say whether *token* is a member of a field, whatever its case."""
        return token in (member.lower() for member in self.tokens(name))


class Response:
    """An HTTP answer: to a plain request, or one that refuses a handshake.

    status: from 200 to 599; or 101 from `onrequest`, to accept with additional *headers*.
    body: str goes out as UTF-8.
    Raises ValueError for a header that would break out of its line.
    """

    def __init__(
        self,
        status: int,
        body: str | bytes = b"",
        headers: Mapping[str, str] | None = None,
        content_type: str = "text/plain; charset=utf-8",
    ) -> None:
        self.status = status
        self.body = body.encode() if isinstance(body, str) else body
        self.headers = dict(headers or {})
        self.content_type = content_type
        for name, value in self.headers.items():
            line = name + value
            if not is_token(name) or any(c in line for c in "\r\n\0"):
                raise ValueError(f"not a header field: {name!r}: {value!r}")
            if name.lower() in _OWN:
                raise ValueError(f"{name} is for the server to set")

    def encode(self, method: str = "GET") -> bytes:
        """Return the bytes to send; without the body where *method* is HEAD."""
        connection = "close, Upgrade" if "Upgrade" in self.headers else "close"  # RFC 9110 §7.8
        fields = dict(self.headers)
        if not any(name.lower() == "content-type" for name in fields):
            fields = {"Content-Type": self.content_type, **fields}
        fields.update({"Content-Length": str(len(self.body)), "Connection": connection})
        head = _head(self.status, fields)
        return head if method == "HEAD" else head + self.body


class HandshakeError(Exception):
    """The request can't be accepted: answer with `response`, then close."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None):
        super().__init__(status, reason)
        self.response = Response(status, reason + "\n", headers)


class Request:
    """What a client asked for.

    method, target: as sent. headers: case-insensitive mapping.
    secure: whether it came over TLS.
    data: a dict for whatever you want to keep; `client.data` is the same one.
    """

    __slots__ = ("data", "headers", "method", "secure", "target", "version")

    def __init__(self, method: str, target: str, version: str, headers: Headers) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.secure = False
        self.data: dict[Any, Any] = {}

    @property
    def path(self) -> str:
        """The path, percent-decoded, without the query."""
        path = self.target.partition("?")[0]
        return unquote(path if path[0] in "/*" else urlsplit(path).path or "/")

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; of a repeated one the last."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @property
    def cookies(self) -> dict[str, str]:
        """Cookies by name (RFC 6265 §4.2)."""
        pairs = (pair.partition("=") for pair in self.headers.get("cookie", "").split(";"))
        return {name.strip(): value.strip().strip('"') for name, equals, value in pairs if equals}

    @property
    def is_upgrade(self) -> bool:
        """Whether this asks for a WebSocket rather than for a page."""
        return self.headers.has_token("upgrade", "websocket")

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target}>"


class Head:
    """Gathers a request head until its empty line, at most *limit* bytes of it."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> tuple[Request, bytes] | None:
        """Return the request and the bytes after it once it is complete, else None.

        Raises HandshakeError as soon as the head can't become a good one.
        """
        searched = max(0, len(self._buffer) - 3)
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n", searched)
        # without its end: up to three bytes may be the beginning of that
        if (end if end >= 0 else len(self._buffer) - 3) > self._limit:
            if self._buffer.find(b"\r\n", 0, self._limit) < 0:
                raise HandshakeError(414, f"request line of over {self._limit} bytes")
            raise HandshakeError(431, f"request head of over {self._limit} bytes")
        if end < 0:
            if self._buffer[:1] == b"\x16":
                raise HandshakeError(400, "this port doesn't speak TLS: use ws:// or http://")
            return None
        head, rest = bytes(self._buffer[:end]), bytes(self._buffer[end + 4 :])
        return parse_request(head), rest


def parse_request(head: bytes) -> Request:
    """Parse a request head without its empty line, strictly (RFC 9112 §3, §5)."""
    lines = head.decode("latin-1").split("\r\n")
    if any(c in line for line in lines for c in "\r\n\0"):
        raise HandshakeError(400, "control character in the request head")
    if len(lines) - 1 > MAX_FIELDS:
        raise HandshakeError(431, f"request of over {MAX_FIELDS} header fields")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[1] or not is_token(parts[0]):
        raise HandshakeError(400, "malformed request line")
    method, target, version = parts
    if len(target) > MAX_TARGET:
        raise HandshakeError(414, f"request target of over {MAX_TARGET} bytes")
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        if version[:5] == "HTTP/" and version[5:] in _HIGHER_VERSIONS:
            raise HandshakeError(505, "use HTTP/1.1")
        raise HandshakeError(400, "malformed HTTP version")
    if not all("!" <= c <= "~" and c != "#" for c in target):
        raise HandshakeError(400, "request target must be printable ASCII without a fragment")
    if target[0] != "/" and target != "*":  # absolute-form
        try:
            if urlsplit(target).scheme not in ("http", "https"):
                raise ValueError
        except ValueError:
            raise HandshakeError(400, "malformed request target") from None
    headers = Headers()
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not is_token(name):
            raise HandshakeError(400, "malformed header field")
        if name.lower() in _SINGLETONS and name in headers:
            raise HandshakeError(400, f"repeated header field {name.lower()}")
        headers.add(name, value.strip(" \t"))
    host = headers.get("host", "")
    if (version == "HTTP/1.1" and not host) or host.strip(_HOST):
        raise HandshakeError(400, "missing or malformed Host")
    return Request(method, target, version, headers)


def check_upgrade(request: Request, origins: Sequence[str] = ()) -> None:
    """Check a handshake as RFC 6455 §4.2.1 and §10.2 say; HandshakeError tells what's wrong."""
    headers = request.headers
    if request.method != "GET":
        raise HandshakeError(405, "a WebSocket handshake is a GET", {"Allow": "GET"})
    if request.version == "HTTP/1.0":
        raise HandshakeError(505, "a WebSocket handshake needs HTTP/1.1")
    if not headers.has_token("connection", "upgrade"):
        raise HandshakeError(400, "Connection must say Upgrade")
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        raise HandshakeError(400, "a WebSocket handshake has no body")
    if headers.get("sec-websocket-version") != "13":
        raise upgrade_required("this server speaks WebSocket version 13")
    try:
        nonce = base64.b64decode(headers.get("sec-websocket-key", ""), validate=True)
    except ValueError:
        nonce = b""
    if len(nonce) != 16:
        raise HandshakeError(400, "Sec-WebSocket-Key must be 16 bytes in base64")
    if not all(is_token(p) for p in headers.tokens("sec-websocket-protocol")):
        raise HandshakeError(400, "Sec-WebSocket-Protocol must be a list of tokens")
    parse_extensions(headers.get("sec-websocket-extensions", ""))
    origin = headers.get("origin")
    if not (origin is None or "*" in origins or origin in origins or _same_host(origin, headers)):
        raise HandshakeError(403, f"origin {origin!a} is not allowed")


def parse_extensions(header: str) -> list[tuple[str, list[tuple[str, str | None]]]]:
    """Return names and parameters in Sec-WebSocket-Extensions (RFC 6455 §9.1)."""
    offers = []
    for offer in filter(None, (part.strip(" \t") for part in header.split(","))):
        name, *fields = [field.strip(" \t") for field in offer.split(";")]
        params: list[tuple[str, str | None]] = []
        for field in fields:
            key, equals, value = (part.strip(" \t") for part in field.partition("="))
            if len(value) > 1 and value[0] == value[-1] == '"':
                value = value[1:-1]
            params.append((key, value if equals else None))
        texts = [name, *(key for key, _ in params), *(v for _, v in params if v is not None)]
        if not all(is_token(text) for text in texts):
            raise HandshakeError(400, "Sec-WebSocket-Extensions is malformed")
        offers.append((name, params))
    return offers


def not_an_upgrade(request: Request) -> HandshakeError:
    """Return the answer to a plain request that nobody else answers (RFC 9110 §15.5.22)."""
    if request.method not in ("GET", "HEAD"):
        return HandshakeError(405, "use GET", {"Allow": "GET, HEAD"})
    return upgrade_required("this is a WebSocket server: connect with ws:// or wss://")


def upgrade_required(reason: str) -> HandshakeError:
    """Return the answer that tells a client what to speak (RFC 6455 §4.4)."""
    fields = {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    return HandshakeError(426, reason, fields)


def choose_subprotocol(request: Request, supported: Sequence[str]) -> str | None:
    """Return the first of *supported*, in the server's order, that the client offers."""
    offered = request.headers.tokens("sec-websocket-protocol")
    return next((name for name in supported if name in offered), None)


def accept(
    request: Request, subprotocol: str | None, headers: Mapping[str, str], extension: str = ""
) -> bytes:
    """Return the 101 response (RFC 6455 §4.2.2), with additional *headers*."""
    key = request.headers["sec-websocket-key"].encode("ascii")
    digest = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode("ascii")
    fields = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": digest}
    if subprotocol is not None:
        fields["Sec-WebSocket-Protocol"] = subprotocol
    if extension:
        fields["Sec-WebSocket-Extensions"] = extension
    return _head(101, {**headers, **fields})


def _head(status: int, fields: Mapping[str, str]) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {fields[name]}" for name in fields)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def is_token(name: str) -> bool:
    """Say whether *name* is a token, as names and parameters have to be (RFC 9110 §5.6.2)."""
    return bool(name) and not name.strip(_TOKEN)


def _same_host(origin: str, headers: Headers) -> bool:
    """Say whether a page's origin has the host and port that it connects to."""
    scheme, _, host = origin.lower().partition("://")
    port = _PORTS.get(scheme)
    if port is None:
        return False
    wanted = headers.get("host", "").lower()
    host, wanted = (h[: -len(port)] if h.endswith(port) else h for h in (host, wanted))
    return host == wanted

"""The opening handshake, RFC 6455 §4: a request head in, a decision and response bytes out."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http
from types import MappingProxyType
from typing import Any, Callable, Iterator, Mapping, Sequence
from urllib.parse import parse_qsl, unquote, urlsplit

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Fixed by RFC 6455 §1.3."""
MAX_TARGET = 8192
"""Longest request target, in bytes; 414 beyond."""
MAX_FIELDS = 100  # defence: field-count
"""Most header fields in one request; 431 beyond."""

_TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_HOST = _TOKEN + "(),;=[]:"
_DIGITS = "0123456789"
_HIGHER_VERSIONS = {f"{major}.{minor}" for major in range(1, 10) for minor in range(10)}
_SINGLETONS = frozenset(
    "host origin authorization content-length sec-websocket-key sec-websocket-version".split()
)
_OWN = frozenset("connection content-length transfer-encoding sec-websocket-accept".split())
_OWN_101 = _OWN | {"upgrade", "sec-websocket-extensions", "sec-websocket-protocol"}
_PHRASES = {int(status): status.phrase for status in http.HTTPStatus}
_BODILESS = (101, 204, 205, 304)  # RFC 9110 §8.6, §15
_PORTS = {"http": "80", "ws": "80", "https": "443", "wss": "443"}


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

    def get(self, name: str, default: Any = None) -> Any:
        return self._fields.get(name.lower(), default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def tokens(self, name: str) -> Sequence[str]:
        """Return the members of a comma-separated field, as they stand."""
        # defence: linear-fields
        return [token.strip(" \t") for token in self.get(name, "").split(",") if token.strip(" \t")]

    def has_token(self, name: str, token: str) -> bool:
        """Say whether *token* is a member of a field, whatever its case."""
        return token in (member.lower() for member in self.tokens(name))  # defence: token-whole


class Response:
    """An HTTP answer: to a plain request, or one that refuses a handshake.

    status: from 200 to 599; or 101 from `onrequest`, to accept with additional *headers*.
    body: str goes out as UTF-8.
    Raises ValueError for another status, and for a header that would break out of its line or
    that is the server's to set.
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
        if status not in _BODILESS and "content-type" not in map(str.lower, fields):
            fields = {"Content-Type": content_type, **fields}
        for name, value in fields.items():
            if not is_token(name) or any(c in value for c in "\r\n\0"):  # defence: header-injection
                raise ValueError(f"not a header field: {name!r}: {value!r}")
            if name.lower() in (_OWN_101 if status == 101 else _OWN):
                raise ValueError(f"{name} is for the server to set")
        self.status = status
        self.body = body.encode() if isinstance(body, str) else body
        self.headers: Mapping[str, str] = MappingProxyType(fields)  # stays as checked

    def encode(self, method: str = "GET") -> bytes:
        """Return the bytes to send; without the body where *method* or the status has none."""
        fields = dict(self.headers)
        upgrade = "upgrade" in map(str.lower, fields)
        bodiless = self.status in _BODILESS
        if not bodiless:
            fields["Content-Length"] = str(len(self.body))
        fields["Connection"] = "close, Upgrade" if upgrade else "close"  # RFC 9110 §7.8
        return _head(self.status, fields) + (b"" if bodiless or method == "HEAD" else self.body)


class HandshakeError(Exception):
    """The request can't be accepted: answer with `response`, then close."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None):
        super().__init__(status, reason)
        self.response = Response(status, reason + "\n", headers)


class Request:
    """What a client asked for.

    method, target: as sent. headers: case-insensitive mapping.
    address: the client's, as from `client.getpeername()`.
    secure: whether it came over TLS.
    user: the name that `basic_auth` has checked, None without it.
    data: a dict for whatever you want to keep; `client.data` is the same one.
    """

    __slots__ = ("address", "data", "headers", "method", "secure", "target", "user", "version")

    def __init__(self, method: str, target: str, version: str, headers: Headers) -> None:
        self.method, self.target, self.version, self.headers = method, target, version, headers
        self.address: Any = None
        self.secure = False
        self.user: str | None = None
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
        """Whether this asks for a WebSocket rather than for a page (RFC 9110 §7.8)."""
        return self.version == "HTTP/1.1" and self.headers.has_token("upgrade", "websocket")

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
        while self._buffer.startswith(b"\r\n"):  # RFC 9112 §2.2
            del self._buffer[:2]
        end = self._buffer.find(b"\r\n\r\n", searched)
        # without its end: up to three bytes may be the beginning of that
        if (end if end >= 0 else len(self._buffer) - 3) > self._limit:  # defence: head-size
            if self._buffer.find(b"\r\n", 0, self._limit) < 0:
                raise HandshakeError(414, f"request line of over {self._limit} bytes")
            raise HandshakeError(431, f"request head of over {self._limit} bytes")
        if end < 0:
            if self._buffer[:1] == b"\x16":
                raise HandshakeError(400, "this port doesn't speak TLS: use ws:// or http://")
            return None
        return parse_request(bytes(self._buffer[:end])), bytes(self._buffer[end + 4 :])


def parse_request(head: bytes) -> Request:
    """Parse a request head without its empty line, strictly (RFC 9112 §3, §5)."""
    lines = head.decode("latin-1").split("\r\n")
    if any(c in "".join(lines) for c in "\r\n\0"):  # defence: line-ends
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
    if not all("!" <= c <= "~" and c != "#" for c in target):  # defence: target
        raise HandshakeError(400, "request target must be printable ASCII without a fragment")
    authority = None
    if target[0] != "/" and target != "*":  # absolute-form
        try:
            scheme, authority, *_ = urlsplit(target.lower())
            if scheme not in ("http", "https"):
                raise ValueError
        except ValueError:
            raise HandshakeError(400, "malformed request target") from None
    headers = Headers()
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not is_token(name):  # defence: field-name
            raise HandshakeError(400, "malformed header field")
        if headers.get(name) is not None and name.lower() in _SINGLETONS:  # defence: singletons
            raise HandshakeError(400, f"repeated header field {name.lower()}")
        headers.add(name, value.strip(" \t"))
    host = headers.get("host", "").lower()
    port = _split_host(host)[1]
    if (version == "HTTP/1.1" and not host) or host.strip(_HOST) or port.strip(_DIGITS):
        raise HandshakeError(400, "missing or malformed Host")
    if authority not in (None, host):  # else there would be two answers to where it goes
        raise HandshakeError(400, "Host differs from the request target")
    return Request(method, target, version, headers)


def parse_hosts(hosts: Sequence[str]) -> list[tuple[str, str]]:
    """Return the names and ports, '' for any, in the option `hosts`; ValueError for a wrong one."""
    parsed = []
    for host in hosts:
        ipv6 = host.count(":") > 1 and host[0] != "["
        name, port = _split_host(f"[{host}]" if ipv6 else host)
        rest = name[2:] if name[:2] == "*." else name
        if not rest or rest.strip(_HOST) or "*" in rest or port.strip(_DIGITS):
            raise ValueError(f"hosts= takes names, with or without a port, not {host!r}")
        parsed.append((name, port))
    return parsed


def check_host(request: Request, hosts: Sequence[tuple[str, str]]) -> None:
    """Check that the request is for one of *hosts*, else HandshakeError (RFC 9110 §15.5.20)."""
    host = request.headers.get("host", "")
    name, port = _split_host(host, "443" if request.secure else "80")
    for listed, listed_port in hosts:
        named = name == listed or (listed[0] == "*" and name.endswith(listed[1:]))
        if named and listed_port in ("", port):
            return
    raise HandshakeError(421, f"host {host!a} is not served here")


def _split_host(host: str, default_port: str = "") -> tuple[str, str]:
    """Return the name, without case and final dot, and the port."""
    name, colon, port = host.lower().rpartition(":")
    if not colon or port.endswith("]"):
        name, port = host.lower(), ""
    return name[:-1] if name.endswith(".") else name, port or default_port


def check_upgrade(request: Request, origins: Sequence[str] = ()) -> None:
    """Check a handshake as RFC 6455 §4.2.1 and §10.2 say; HandshakeError tells what's wrong."""
    headers = request.headers
    if request.method != "GET":
        raise HandshakeError(405, "a WebSocket handshake is a GET", {"Allow": "GET"})
    if not headers.has_token("connection", "upgrade"):
        raise HandshakeError(400, "Connection must say Upgrade")
    # defence: no-body
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
    # defence: subprotocol-tokens
    if not all(is_token(p) for p in headers.tokens("sec-websocket-protocol")):
        raise HandshakeError(400, "Sec-WebSocket-Protocol must be a list of tokens")
    parse_extensions(headers.get("sec-websocket-extensions", ""))
    origin = headers.get("origin")
    # defence: origin
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
    return upgrade_required("a WebSocket server: connect by ws:// or wss://, over HTTP/1.1")


def upgrade_required(reason: str) -> HandshakeError:
    """Return the answer that tells a client what to speak (RFC 6455 §4.4)."""
    return HandshakeError(426, reason, {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"})


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


def basic_auth(
    users: Mapping[str, str] | Callable[[str, str], bool], realm: str = "WebSocket"
) -> Callable[[Request], Response | None]:
    """Return a callback for `onrequest` that asks for a name and a password (RFC 7617).

    users: passwords by name, or a function ``check(name, password)`` that says whether they are
    right, and may block. realm: what they are for, shown by some browsers.

    Where they are right, `request.user` is the name and the callback returns None; otherwise it
    returns a 401. A callback of your own may call it for the requests that need it. Comparing
    with *users* takes the same time for any guess of one length, and for names that don't exist;
    let *check* use `hmac.compare_digest`. Use it over TLS alone: passwords are sent in the clear.
    """
    if callable(users):
        check = users
    else:
        secrets = {name: password.encode() for name, password in users.items()}

        def check(name: str, password: str) -> bool:
            # defence: password-time
            same = hmac.compare_digest(secrets.get(name, b""), password.encode())
            return same and name in secrets

    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    challenge = {"WWW-Authenticate": f'Basic realm="{quoted}", charset="UTF-8"'}
    refusal = Response(401, "a name and a password, please\n", challenge)

    def authenticate(request: Request) -> Response | None:
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        try:
            pair = base64.b64decode(credentials.strip(" "), validate=True).decode()
        except ValueError:  # not base64, or not UTF-8
            return refusal
        name, colon, password = pair.partition(":")
        if scheme.lower() != "basic" or not colon or not check(name, password):
            return refusal
        request.user = name
        return None

    return authenticate


def _head(status: int, fields: Mapping[str, str]) -> bytes:
    lines = "".join([f"{name}: {fields[name]}\r\n" for name in fields])
    head = f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n{lines}\r\n"
    return head.encode("latin-1", "replace")


def is_token(name: str) -> bool:
    """Say whether *name* is a token, as names and parameters have to be (RFC 9110 §5.6.2)."""
    return bool(name) and not name.strip(_TOKEN)


def _same_host(origin: str, headers: Headers) -> bool:
    """Say whether a page's origin has the host and port that it connects to."""
    scheme, _, host = origin.lower().partition("://")
    port = _PORTS.get(scheme)
    return port is not None and _split_host(host, port) == _split_host(headers["host"], port)

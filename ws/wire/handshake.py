"""The opening handshake (RFC 6455 §4): the checks of a request, and the 101 response."""

from __future__ import annotations

import base64
import hashlib
from typing import Mapping, Sequence

from .http11 import MAX_HOST_LENGTH, HandshakeError, Request, encode_head, is_host, is_token
from .http11 import split_host

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Fixed by RFC 6455 §1.3."""

MAX_OFFERS = 32  # defence: offer-count
"""Most extensions that a client may offer, with their parameters. More are answered with 400."""
SHOWN_LENGTH = 200
"""Characters of a refused value that are shown in the answer."""

_PORTS = {"http": "80", "ws": "80", "https": "443", "wss": "443"}


def parse_hosts(hosts: Sequence[str]) -> list[tuple[str, str]]:
    """Return the names and ports in the option `hosts`. The port "" stands for any port.

    Raises:
        ValueError: One of *hosts* can't be a host.
    """
    parsed = []
    for host in hosts:
        ipv6 = host.count(":") > 1 and host[0] != "["
        name, port = split_host(f"[{host}]" if ipv6 else host)
        rest = name[2:] if name[:2] == "*." else name
        if "*" in rest or not is_host(f"{rest}:{port}"):
            raise ValueError(f"hosts= takes names, with or without a port, not {host!r}")
        parsed.append((name, port))
    return parsed


def check_host(request: Request, hosts: Sequence[tuple[str, str]]) -> None:
    """Check that the request is for one of *hosts* (RFC 9110 §7.4).

    Args:
        hosts: What `parse_hosts` returned.

    Raises:
        HandshakeError: The request is for another host (421).
    """
    host = request.headers.get("host", "")
    name, port = split_host(host, "443" if request.secure else "80")
    for listed, listed_port in hosts:
        named = name == listed or (listed[0] == "*" and name.endswith(listed[1:]))
        if named and listed_port in ("", port):
            return
    raise HandshakeError(421, f"host {host[:SHOWN_LENGTH]!a} is not served here")


def check_upgrade(request: Request, origins: Sequence[str] = ()) -> None:
    """Check that a request is a valid handshake (RFC 6455 §4.2.1, §10.2).

    Args:
        request: The request. Its `offers` are set.
        origins: Origins whose pages may connect, besides pages of this host. "*" stands for any.

    Raises:
        HandshakeError: The request is refused. The error has the response.
    """
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
    key = headers.get("sec-websocket-key", "")
    try:
        nonce = base64.b64decode(key if len(key) == 24 else "", validate=True)
    except ValueError:
        nonce = b""
    if len(nonce) != 16:
        raise HandshakeError(400, "Sec-WebSocket-Key must be 16 bytes in base64")
    # defence: subprotocol-tokens
    if not all(is_token(p) for p in headers.tokens("sec-websocket-protocol")):
        raise HandshakeError(400, "Sec-WebSocket-Protocol must be a list of tokens")
    request.offers = parse_extensions(headers.get("sec-websocket-extensions", ""))
    origin = headers.get("origin")
    # defence: origin
    if not (origin is None or "*" in origins or origin in origins or _same_host(origin, request)):
        raise HandshakeError(403, f"origin {origin[:SHOWN_LENGTH]!a} is not allowed")


def parse_extensions(header: str) -> list[tuple[str, list[tuple[str, str | None]]]]:
    """Return the names in Sec-WebSocket-Extensions, each with its parameters (RFC 6455 §9.1).

    Raises:
        HandshakeError: The field is malformed, or has too many offers and parameters (400).
    """
    if header.count(",") + header.count(";") >= MAX_OFFERS:
        reason = f"Sec-WebSocket-Extensions has over {MAX_OFFERS} offers and parameters"
        raise HandshakeError(400, reason)
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
    """Return the answer to a plain request for which there is no page (RFC 9110 §15.5.22)."""
    if request.method not in ("GET", "HEAD"):
        return HandshakeError(405, "use GET", {"Allow": "GET, HEAD"})
    return upgrade_required("a WebSocket server: connect by ws:// or wss://, over HTTP/1.1")


def upgrade_required(reason: str) -> HandshakeError:
    """Return the answer that says which protocol to use (RFC 6455 §4.4)."""
    return HandshakeError(426, reason, {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"})


def choose_subprotocol(request: Request, supported: Sequence[str]) -> str | None:
    """Return the first of *supported* that the client offers (RFC 6455 §4.2.2)."""
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
    return encode_head(101, {**headers, **fields})


def _same_host(origin: str, request: Request) -> bool:
    """Say whether a page's origin has the host and the port that the page connects to.

    If it connects by TLS, the page must have come by TLS, too: or whoever can change that page can
    have it connect.
    """
    if len(origin) > MAX_HOST_LENGTH + len("https://"):
        return False
    scheme, _, host = origin.lower().partition("://")
    port = _PORTS.get(scheme)
    if port is None or (request.secure and port == "80"):  # defence: secure-origin
        return False
    return split_host(host, port) == split_host(request.headers["host"], port)

"""A client's address, as reverse proxies report it: X-Forwarded-For and the PROXY protocol."""

from __future__ import annotations

import ipaddress
from typing import Sequence, Union

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
"""The beginning of a header of version 2. One of version 1 begins with "PROXY "."""
SHORTEST_BYTES = 15
"""The length of "PROXY UNKNOWN\\r\\n". No header is shorter."""
LONGEST_LINE_BYTES = 107
"""The longest header of version 1."""
LONGEST_BLOCK_BYTES = 4096
"""The longest header of version 2 that is accepted. It may hold more than addresses."""

UNKNOWN = "unknown"
"""Stands for the address of a client that a proxy doesn't tell (RFC 7239 §6.2)."""

LONGEST_ADDRESS = 100
"""Characters that a forwarded address has at most, with the name of a network interface."""

IP = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

_LOCAL, _PROXY = 0x20, 0x21
_SIZES = {0x11: 4, 0x12: 4, 0x21: 16, 0x22: 16}  # of an IP address, by family and protocol
_NO_IP = (0x00, 0x31, 0x32)  # unspecified, or a Unix socket


class Proxies:
    """The reverse proxies to trust.

    ``ip in proxies`` says whether the peer with this IP address is one of them. A peer of a Unix
    socket has the address "".

    Args:
        proxies: Addresses, networks, or "unix" for all peers of a Unix socket.

    Raises:
        ValueError: One of *proxies* is none of these. Host names aren't resolved.
    """

    def __init__(self, proxies: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(proxy) for proxy in proxies if proxy != "unix"]
        self._unix = "unix" in proxies

    def __contains__(self, ip: str) -> bool:
        if not (ip and self._networks):
            return self._unix and not ip  # defence: proxies
        address = _parse(ip)
        return address is not None and any(address in network for network in self._networks)

    def origin(self, ip: str, forwarded_for: Sequence[str]) -> str:
        """Return the client's IP address.

        Each proxy adds the address of its own peer on the right. So the client's address is the
        first one, from the right, that is not a trusted proxy's. Anybody may have made up those
        further left. UNKNOWN stands for anything there that is no address.

        Args:
            ip: The address of the peer that sent the request.
            forwarded_for: The members of its X-Forwarded-For.
        """
        for member in reversed(forwarded_for):  # defence: forwarded-last
            if ip not in self:
                break
            address = _parse(member)
            ip = str(address) if address else UNKNOWN  # defence: unknown-address
        return ip


def _parse(text: str) -> IP | None:
    """Return the IP address in "1.2.3.4", "1.2.3.4:80", "::1", "[::1]:80" or "fe80::1%3"."""
    if len(text) > LONGEST_ADDRESS:
        return None
    if text[:1] == "[":
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return _unmapped(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return None


def _unmapped(address: IP) -> IP:
    """Return the IPv4 address in an IPv4-mapped IPv6 address, or else the address itself."""
    return getattr(address, "ipv4_mapped", None) or address


def missing(header: bytes) -> int:
    """Return how many more bytes a header needs at least, or 0 if it is complete.

    Raises:
        ValueError: No header begins like this.
    """
    binary = SIGNATURE.startswith(header[: len(SIGNATURE)])
    if not binary and not b"PROXY ".startswith(header[:6]):
        raise ValueError("it sent no PROXY protocol header")
    if len(header) < SHORTEST_BYTES:
        return SHORTEST_BYTES - len(header)
    if binary:
        size = 16 + int.from_bytes(header[14:16], "big") * (len(header) > 15)
        if size > LONGEST_BLOCK_BYTES:
            raise ValueError(f"its PROXY protocol header is of over {LONGEST_BLOCK_BYTES} bytes")
        return size - len(header)
    if header.endswith(b"\n"):
        return 0
    if len(header) >= LONGEST_LINE_BYTES:
        raise ValueError(f"its PROXY protocol header is of over {LONGEST_LINE_BYTES} bytes")
    return 1


def parse(header: bytes) -> tuple[str, int] | None:
    """Return the client's address in a complete header.

    It is None for a connection of the proxy's own (LOCAL), and UNKNOWN with port 0 if the header
    doesn't tell it.

    https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt describes both versions.

    Raises:
        ValueError: The header is malformed.
    """
    try:
        return (_parse_block if header.startswith(SIGNATURE) else _parse_line)(header)
    except (ValueError, KeyError):
        raise ValueError("its PROXY protocol header is malformed")


def _parse_line(header: bytes) -> tuple[str, int]:
    """Parse a header of version 1."""
    fields = header.decode("latin-1").split(" ")
    fields[-1], end = fields[-1][:-2], fields[-1][-2:]
    if end != "\r\n":
        raise ValueError
    if fields[1] == "UNKNOWN":
        return UNKNOWN, 0
    _, family, source, destination, port, destination_port = fields
    ip, version = ipaddress.ip_address(source), {"TCP4": 4, "TCP6": 6}[family]
    if not ip.version == ipaddress.ip_address(destination).version == version:
        raise ValueError
    _port(destination_port)
    return str(_unmapped(ip)), _port(port)


def _port(text: str) -> int:
    if not text.isdigit() or text != str(int(text)) or int(text) > 65535:
        raise ValueError
    return int(text)


def _parse_block(header: bytes) -> tuple[str, int] | None:
    """Parse a header of version 2."""
    command, family = header[12], header[13]
    if command == _LOCAL:
        return None
    if command == _PROXY and family in _NO_IP:
        return UNKNOWN, 0
    size = _SIZES[family]
    if command != _PROXY or len(header) < 16 + 2 * size + 4:
        raise ValueError
    ip, port = header[16 : 16 + size], header[16 + 2 * size : 18 + 2 * size]
    return str(_unmapped(ipaddress.ip_address(ip))), int.from_bytes(port, "big")

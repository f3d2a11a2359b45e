"""What proxies tell, as tables: bytes or header fields in, the client's address out.

"1" and "2" name the versions in §2.1 and §2.2 of the PROXY protocol's specification.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tables import table
from ws.wire.proxy import LONGEST_BLOCK_BYTES, SIGNATURE, UNKNOWN, Proxies, missing, parse

# Who is trusted, and X-Forwarded-For


@table(
    "proxies, ip, trusted",
    ("nobody is by default", [], "127.0.0.1", False),
    ("not even a Unix socket's peer", [], "", False),
    ("an address", ["10.0.0.1"], "10.0.0.1", True),
    ("another", ["10.0.0.1"], "10.0.0.2", False),
    ("one of two", ["10.0.0.2", "10.0.0.1"], "10.0.0.1", True),
    ("a network", ["10.0.0.0/8"], "10.255.0.1", True),
    ("outside of it", ["10.0.0.0/8"], "11.0.0.1", False),
    ("IPv6", ["2001:db8::/32"], "2001:db8::1", True),
    ("outside of it", ["2001:db8::/32"], "2001:db9::1", False),
    ("with a zone", ["fe80::/10"], "fe80::1%eth0", True),
    ("a socket for IPv4 and IPv6", ["10.0.0.1"], "::ffff:10.0.0.1", True),
    ("a Unix socket", ["unix"], "", True),
    ("which is no address", ["unix"], "10.0.0.1", False),
    ("beside addresses", ["unix", "10.0.0.1"], "10.0.0.1", True),
    ("as well", ["10.0.0.1", "unix"], "", True),
    ("no address", ["0.0.0.0/0", "::/0"], UNKNOWN, False),
    ("unless listed", ["0.0.0.0/0", "::/0"], "", False),
)
def test_trusted(proxies, ip, trusted):
    assert (ip in Proxies(proxies)) is trusted


@pytest.mark.parametrize("proxy", ["", "localhost", "10.0.0.1/8", "10.0.0.1:80", "*", "Unix"])
def test_no_proxy(proxy):
    with pytest.raises(ValueError):
        Proxies([proxy])


@table(
    "ip, forwarded_for, client",
    ("a client that came by itself", "9.9.9.9", "1.1.1.1", "9.9.9.9"),
    ("a proxy's own request", "10.0.0.1", "", "10.0.0.1"),
    ("a client", "10.0.0.1", "1.1.1.1", "1.1.1.1"),
    ("that tells tales", "10.0.0.1", "6.6.6.6, 1.1.1.1", "1.1.1.1"),
    ("of proxies", "10.0.0.1", "6.6.6.6, 10.0.0.2, 1.1.1.1", "1.1.1.1"),
    ("by two proxies", "10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1"),
    ("by none but proxies", "10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
    ("by a Unix socket", "", "1.1.1.1", "1.1.1.1"),
    ("with a port", "10.0.0.1", "1.1.1.1:80", "1.1.1.1"),
    ("IPv6", "10.0.0.1", "2001:DB8:0::1", "2001:db8::1"),
    ("in brackets", "10.0.0.1", "[2001:db8::1]", "2001:db8::1"),
    ("with a port", "10.0.0.1", "[2001:db8::1]:80", "2001:db8::1"),
    ("IPv4 as IPv6", "10.0.0.1", "::ffff:1.1.1.1", "1.1.1.1"),
    ("no address", "10.0.0.1", "1.1.1.1, unknown", UNKNOWN),
    ("nor this", "10.0.0.1", "1.1.1.1, unix:", UNKNOWN),
    ("nor this, which is longer than any", "10.0.0.1", "1.1.1.1, " + "1" * 9000, UNKNOWN),
    ("nor this", "10.0.0.1", "1.1.1.1, [", UNKNOWN),
    ("at all", "10.0.0.1", "1.1.1.1, unknown, unknown", UNKNOWN),
    ("behind a proxy", "10.0.0.1", "1.1.1.1, x, 10.0.0.2", UNKNOWN),
)
def test_origin(ip, forwarded_for, client):
    members = forwarded_for.split(", ") if forwarded_for else []
    assert Proxies(["10.0.0.0/8", "unix"]).origin(ip, members) == client


# The PROXY protocol


def gather(data: bytes) -> bytes:
    """Take a header from the front of *data*, as a connection does; EOFError if it is cut off."""
    header = b""
    while missing(header):
        part = data[len(header) : len(header) + missing(header)]
        if not part:
            raise EOFError
        header += part
    return header


def line(*fields, end="\r\n") -> bytes:
    return " ".join(["PROXY", *map(str, fields)]).encode("latin-1") + end.encode()


def block(family=0x11, ip="1.1.1.1", port=5, *, command=0x21, more=b"", size=None) -> bytes:
    packed = ip_address(ip).packed * 2 + struct.pack("!HH", port, 443) if ip else b""
    size = len(packed + more) if size is None else size
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", size) + packed + more


LONG = "ffff:" * 7 + "ffff"


@table(
    "header, address",
    ("1 TCP4", line("TCP4", "1.1.1.1", "2.2.2.2", 5, 443), ("1.1.1.1", 5)),
    ("1 ports of 0 and 65535", line("TCP4", "1.1.1.1", "2.2.2.2", 65535, 0), ("1.1.1.1", 65535)),
    ("1 TCP6", line("TCP6", LONG, LONG, 65535, 65535), (LONG, 65535)),
    ("1 in capitals", line("TCP6", "2001:DB8::1", "::", 1, 2), ("2001:db8::1", 1)),
    ("1 IPv4 as IPv6", line("TCP6", "::ffff:1.1.1.1", "::", 1, 2), ("1.1.1.1", 1)),
    ("1 UNKNOWN", line("UNKNOWN"), (UNKNOWN, 0)),
    ("1 the longest", line("UNKNOWN", LONG, LONG, 65535, 65535), (UNKNOWN, 0)),
    ("1 UNKNOWN and anything", line("UNKNOWN", "", "\xe9 1"), (UNKNOWN, 0)),
    ("2 TCP4", block(), ("1.1.1.1", 5)),
    ("2 TCP6", block(0x21, "2001:db8::1"), ("2001:db8::1", 5)),
    ("2 IPv4 as IPv6", block(0x21, "::ffff:1.1.1.1"), ("1.1.1.1", 5)),
    ("2 datagrams, as HTTP/3", block(0x12), ("1.1.1.1", 5)),
    ("2 the same in IPv6", block(0x22, "::2"), ("::2", 5)),
    ("2 with more to skip", block(more=b"\x04\0\1x"), ("1.1.1.1", 5)),
    ("2 with much more", block(more=b"x" * (LONGEST_BLOCK_BYTES - 28)), ("1.1.1.1", 5)),
    ("2 LOCAL", block(0, "", command=0x20), None),
    ("2 LOCAL: what is there is ignored", block(command=0x20), None),
    ("2 UNSPEC", block(0, ""), (UNKNOWN, 0)),
    ("2 UNSPEC with something", block(0), (UNKNOWN, 0)),
    ("2 a Unix socket", block(0x31, "", more=bytes(216)), (UNKNOWN, 0)),
    ("2 for datagrams", block(0x32, "", more=bytes(216)), (UNKNOWN, 0)),
)
def test_header(header, address):
    assert gather(header + b"\r\nGET / HTTP/1.1\r\n") == header, "not a byte more"
    assert parse(header) == address
    for cut in range(len(header)):
        with pytest.raises(EOFError):
            gather(header[:cut])


@table(
    "data, reason",
    ("HTTP", b"GET / HTTP/1.1\r\n", "no PROXY protocol header"),
    ("TLS", b"\x16\x03\x01", "no PROXY protocol header"),
    ("1 in capitals", b"proxy UNKNOWN\r\n", "no PROXY protocol header"),
    ("1 a space", b"PROXYUNKNOWN\r\n", "no PROXY protocol header"),
    ("1 no other family", line("UDP4", "1.1.1.1", "2.2.2.2", 5, 443), "malformed"),
    ("1 IPv4 is not TCP6", line("TCP6", "1.1.1.1", "2.2.2.2", 5, 443), "malformed"),
    ("1 nor is the other", line("TCP6", "::1", "2.2.2.2", 5, 443), "malformed"),
    ("1 IPv6 is not TCP4", line("TCP4", "::1", "::2", 5, 443), "malformed"),
    ("1 no address", line("TCP4", "1.1.1", "2.2.2.2", 5, 443), "malformed"),
    ("1 no address", line("TCP4", "1.1.1.1", "x", 5, 443), "malformed"),
    ("1 no ports", line("TCP4", "1.1.1.1", "2.2.2.2"), "malformed"),
    ("1 one more", line("TCP4", "1.1.1.1", "2.2.2.2", 5, 443, 1), "malformed"),
    ("1 two spaces", line("TCP4", "1.1.1.1", "", "2.2.2.2", 5), "malformed"),
    ("1 too high a port", line("TCP4", "1.1.1.1", "2.2.2.2", 65536, 443), "malformed"),
    ("1 leading zeros", line("TCP4", "1.1.1.1", "2.2.2.2", "05", 443), "malformed"),
    ("1 a sign", line("TCP4", "1.1.1.1", "2.2.2.2", 5, "+443"), "malformed"),
    ("1 no port", line("TCP4", "1.1.1.1", "2.2.2.2", 5, ""), "malformed"),
    ("1 a digit of another kind", line("TCP4", "1.1.1.1", "2.2.2.2", "\xb2", 443), "malformed"),
    ("1 a bare LF", line("TCP4", "1.1.1.1", "2.2.2.2", 5, 443, end="\n"), "malformed"),
    ("1 even of UNKNOWN", line("UNKNOWN", end=" \n"), "malformed"),
    ("1 an early LF", line("TCP4\n", "1.1.1.1", "2.2.2.2", 5, 443), "malformed"),
    ("1 in UNKNOWN", line("UNKNOWN\nx"), "malformed"),
    ("1 something like UNKNOWN", line("UNKNOWNS"), "malformed"),
    ("1 one byte too long", line("UNKNOWN", "x" * 92), "over 107 bytes"),
    ("1 endless", b"PROXY " + b"x" * 1000, "over 107 bytes"),
    ("2 another version", block(command=0x11), "malformed"),
    ("2 another command", block(command=0x22), "malformed"),
    ("2 another family", block(0x41), "malformed"),
    ("2 another protocol", block(0x13), "malformed"),
    ("2 too short for its addresses", block(0x21, "1.1.1.1"), "malformed"),
    ("2 by a byte", block(0x11, "", more=bytes(11)), "malformed"),
    ("2 too long", block(size=LONGEST_BLOCK_BYTES - 15), "over 4096 bytes"),
)
def test_malformed(data, reason):
    with pytest.raises(ValueError, match=reason):
        parse(gather(data))


@given(st.binary(max_size=40), st.sampled_from([b"", b"PROXY ", SIGNATURE, block()[:14]]))
def test_any_bytes(data, start):
    try:
        address = parse(gather(start + data))
    except (ValueError, EOFError):
        return
    assert address in (None, (UNKNOWN, 0)) or ip_address(address[0])

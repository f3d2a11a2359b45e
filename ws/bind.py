"""Listening sockets for the options `host`, `port`, `unix` and `reuse_port`."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

BACKLOG = 1024
"""Connections that the system may hold until they are accepted."""


def bind(
    host: str, port: int, reuse_port: bool = False, attempts: int = 10
) -> tuple[list[socket.socket], int]:
    """Listen on all addresses of a host, on one port.

    Args:
        host: A name or an address. "" is all of IPv4 and IPv6.
        port: 0 for a free one.
        reuse_port: Whether other processes may listen on the same port.
        attempts: How often to try again with port 0, if the port that is free for one address
            family is taken for the other.

    Returns:
        The sockets and the port.

    Raises:
        OSError: The system can't listen there. The message says where, and why.
    """
    flags, kind = socket.AI_PASSIVE, socket.SOCK_STREAM
    try:
        infos = dict.fromkeys(socket.getaddrinfo(host or None, port, type=kind, flags=flags))
    except (socket.gaierror, UnicodeError) as error:
        raise OSError(f"can't find {host!r}: {error}")
    chosen = port
    sockets: list[socket.socket] = []
    failure = OSError(f"{host!r} has no address")
    for family, _, _, _, address in infos:
        try:
            sockets.append(_listen(family, (address[0], chosen, *address[2:]), reuse_port))
            chosen = sockets[-1].getsockname()[1]
        except OSError as error:
            failure = error
            if error.errno == errno.EADDRINUSE:
                break  # other errors may mean that this machine lacks IPv6, or IPv4
    else:
        if sockets:
            return sockets, chosen
    for sock in sockets:
        sock.close()
    if sockets and not port and attempts:  # a free port of one family is taken in the other
        return bind(host, port, reuse_port, attempts - 1)
    raise failure


def bind_unix(path: str) -> socket.socket:
    """Listen on a Unix socket. Replace a socket file that no server listens on any more.

    Raises:
        OSError: The system can't listen there. The message says where, and why.
    """
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
    except OSError:
        pass
    return _listen(socket.AF_UNIX, path)


def _listen(family: int, address: Any, reuse_port: bool = False) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # on Windows this would let others take the port over
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        where = address if isinstance(address, str) else f"{address[0]} port {address[1]}"
        raise OSError(error.errno, f"can't listen on {where}: {error.strerror}")
    return sock

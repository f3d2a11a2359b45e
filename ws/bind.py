"""Listening sockets for the options `host`, `port`, `unix` and `reuse_port`."""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from contextlib import contextmanager, suppress
from typing import Any, Iterator

try:
    import fcntl
except ImportError:  # Windows, where Python has no Unix sockets
    pass

BACKLOG = 1024
"""Connections that the system may hold until they are accepted."""
LOCK_SECONDS = 1.0
"""The longest wait for other servers that begin to listen in the same folder."""


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
            where = (address[0], chosen, *address[2:])
            sockets.append(_listen_on_port(family, where, reuse_port))
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
    """Listen on a Unix socket. Replace a socket that a server has left behind, but nothing else.

    When the socket is closed, it is removed from its folder.

    Raises:
        OSError: The system can't listen there. The message says where, and why.
    """
    with _one_at_a_time(os.path.dirname(os.path.abspath(path))):
        # Listening says what is wrong; ValueError: the name is abstract, not a path
        with suppress(FileNotFoundError, PermissionError, ValueError):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):  # defence: unix-kind
                raise OSError(errno.EEXIST, f"can't listen on {path}: it isn't a socket")
            if _is_abandoned(path):  # defence: unix-abandoned
                os.unlink(path)
        return _UnixListener(path)


@contextmanager
def _one_at_a_time(folder: str) -> Iterator[None]:
    """Lock a folder, so that no two servers find the same socket abandoned, and both replace it.

    Do without the lock if it can't be had: anybody who may read the folder can hold it.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        yield
        return
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _locked(descriptor) and time.monotonic() < deadline:
            time.sleep(LOCK_SECONDS / 100)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # this file system has no locks
        pass
    return True


def _is_abandoned(path: str) -> bool:
    """Say whether nobody listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a server that lives may have a full backlog
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            pass
    return False


class _UnixListener(socket.socket):
    """A listening Unix socket, which `close` removes from its folder if it is still there."""

    def __init__(self, path: str) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path, self._pid = os.path.abspath(path), os.getpid()
        self._entry: Any = None
        _listen(self, path, path)
        with suppress(OSError, ValueError):
            self._entry = _entry(path)

    def close(self) -> None:
        with suppress(OSError):  # somebody else has removed it
            # defence: unix-own
            if self._entry and _entry(self._path) == self._entry and self._pid == os.getpid():
                os.unlink(self._path)
        self._entry = None
        super().close()


def _entry(path: str) -> tuple[int, int, int]:
    """Return what tells a file from another one that has its path later.

    The number of an inode is soon used again, so its time belongs to that.
    """
    status = os.lstat(path)
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _listen_on_port(family: int, address: Any, reuse_port: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    if os.name == "posix":  # on Windows this would let others take the port over
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    _listen(sock, address, f"{address[0]} port {address[1]}")
    return sock


def _listen(sock: socket.socket, address: Any, name: str) -> None:
    try:
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"can't listen on {name}: {error.strerror}")

"""The hand-over of a connection by a WSGI server's worker: `WSServer.upgrade`.

A worker of a WSGI server (PEP 3333) reads a request and calls the application, which may find that
the request asks for a WebSocket. Then the connection is taken from the worker: its descriptor is
duplicated, and in its place the worker gets a socket whose peer takes what is sent, but sends
nothing any more. So the worker answers, sees that this client sends no further request, closes the
socket, counts it as ended, and serves the next one.

What the worker has read beyond the request's head is in a buffer above its socket. Once the socket
has been exchanged, this buffer can be read up to its end.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
import time
from contextlib import suppress
from typing import Any, Callable, Iterable, Mapping, NamedTuple
from urllib.parse import quote

from .engine.log import logger
from .engine.loop import Loop, Source
from .engine.poll import READ
from .engine.sockets import PlainClient
from .service import Service
from .wire.http11 import HandshakeError, Request, Response, encode_head, parse_request

PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
"""What may stay as it is in a query."""
WRAPPERS = 4
"""How many streams may be around the one that reads from the socket."""
OTHERWISE = (
    "use gunicorn (sync, gthread), waitress, cheroot, Werkzeug, wsgiref or Django's runserver, "
    "or give WSServer a port of its own"
)

ANSWER_SECONDS = 10.0
"""A worker that doesn't close its socket by then finds it closed by the peer."""

_told: set[str] = set()  # what was logged already


class Answer(Response):
    """What `WSServer.upgrade` returns: a WSGI application that answers the worker.

    A view of Flask returns it as it is. A view of Django returns
    ``HttpResponse(answer.body, status=answer.status, headers=answer.headers)``.

    If its status is 101, the connection was taken: the client got the 101 already, and nobody gets
    what the worker sends. Otherwise the client gets this answer from the worker.
    """

    def __init__(self, response: Response) -> None:
        # The connection is the worker's to speak about (PEP 3333)
        fields = {k: v for k, v in response.headers.items() if k.lower() != "upgrade"}
        super().__init__(response.status, response.body, fields)

    def __call__(
        self, environ: Mapping[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        headers = list(self.headers.items())
        if self.status >= 200 and self.status not in (204, 205, 304):
            headers.append(("Content-Length", str(len(self.body))))
        status = encode_head(self.status, {})[len("HTTP/1.1 ") : -len("\r\n\r\n")]
        start_response(status.decode("latin-1"), headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" or not self.body else [self.body]


class Worker(NamedTuple):
    """A worker's end of the connection."""

    sock: socket.socket
    """Its socket."""
    rest: Callable[[], bytes]
    """Returns what was read after the request's head. Called when the socket was taken."""


def hand_over(
    service: Service,
    start: Callable[[], Any],
    environ: Mapping[str, Any],
    data: Mapping[Any, Any] | None,
    headers: Mapping[str, str] | None,
) -> Answer:
    """Check a request, and take its connection over if it is accepted; see `WSServer.upgrade`.

    Args:
        service: Serves the connection.
        start: Starts the service, unless it runs.
        environ: The request's.
        data: For `Request.data`.
        headers: For the 101 response.
    """
    additional = Response(101, headers=headers)  # before anything has happened, if it raises
    try:
        request = read_request(environ)
        request.data.update(data or {})
        response = service.examine(request, _address(environ))
        if response.status != 101:
            return Answer(response)
        worker = find_worker(environ)
        start()
    except HandshakeError as error:
        return Answer(_explained(error.response, environ))
    response = Response(101, headers={**response.headers, **additional.headers})
    client, peer = take(worker.sock)
    Sink(peer, service.loop)
    service.adopt(client, request, response, worker.rest())
    return Answer(Response(101))


def read_request(environ: Mapping[str, Any]) -> Request:
    """Return the request that a WSGI server has parsed. It is checked as any other.

    Raises:
        HandshakeError: It isn't a request that is acceptable here.
    """
    protocol = environ.get("SERVER_PROTOCOL", "HTTP/1.1")
    if protocol[:6] in ("HTTP/2", "HTTP/3"):
        raise _impossible("a connection of HTTP/2 can't become a WebSocket: use HTTP/1.1")
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    target = quote(path.encode("latin-1", "replace")) or "/"
    query = quote(environ.get("QUERY_STRING", "").encode("latin-1", "replace"), PRINTABLE)
    lines = [f"{environ['REQUEST_METHOD']} {target}{'?' * bool(query)}{query} {protocol}"]
    for name, value in environ.items():
        if name[:5] == "HTTP_" or (name in ("CONTENT_LENGTH", "CONTENT_TYPE") and value):
            lines.append(f"{name.replace('HTTP_', '', 1).replace('_', '-').title()}: {value}")
    if any(c in "".join(lines) for c in "\r\n"):  # defence: environ-lines
        raise HandshakeError(400, "control character in the request head")
    request = parse_request("\r\n".join(lines).encode("latin-1", "replace"))
    request.secure = environ["wsgi.url_scheme"] == "https"
    return request


def _address(environ: Mapping[str, Any]) -> Any:
    """Return the peer's address as the WSGI server tells it, "" for that of a Unix socket."""
    ip, port = environ.get("REMOTE_ADDR") or "", str(environ.get("REMOTE_PORT", ""))
    return (ip, int(port) if port.isdigit() else 0) if ip else ""


def find_worker(environ: Mapping[str, Any]) -> Worker:
    """Find a worker's socket, and what it has read beyond the request's head.

    Raises:
        HandshakeError: This server's connections can't be taken over (501).
    """
    worker = None
    with suppress(AttributeError):  # another version of a server may have other attributes
        worker = _find(environ)
    if worker is None:
        server = environ.get("SERVER_SOFTWARE") or "this WSGI server"
        raise _impossible(f"{server} doesn't give its connections away: {OTHERWISE}")
    if isinstance(worker.sock, ssl.SSLSocket):
        raise _impossible("the WSGI server itself ends TLS: have a reverse proxy do that")
    if type(worker.sock).__module__ != "socket":  # such as gevent's
        raise _impossible(f"its connection isn't a socket that threads can serve: {OTHERWISE}")
    return worker


def _find(environ: Mapping[str, Any]) -> Worker | None:
    stream = environ["wsgi.input"]
    if "gunicorn.socket" in environ:
        return Worker(environ["gunicorn.socket"], stream.reader.unreader.read)
    if "waitress.client_disconnected" in environ:
        return _find_waitress(environ["waitress.client_disconnected"].__self__)
    if "werkzeug.socket" in environ and environ["wsgi.multiprocess"]:
        raise _impossible("its process ends with the request: use threads, not processes=")
    for _ in range(WRAPPERS):  # Werkzeug, wsgiref; cheroot: rfile; Django: a method's object
        raw = getattr(stream, "raw", None)
        if isinstance(raw, socket.SocketIO):
            return Worker(raw._sock, stream.read)  # type: ignore[attr-defined]
        wrapped = getattr(stream, "rfile", None)
        stream = wrapped or getattr(getattr(stream, "_read", None), "__self__", None)
    return None


def _find_waitress(channel: Any) -> Worker:
    """Find the worker in a channel of waitress, whose main thread reads from the socket.

    It reads no more until the request is answered. What came with the head, it has taken for the
    beginning of the next request.
    """
    if channel.adj.channel_request_lookahead:
        raise _impossible("waitress reads on: don't set channel_request_lookahead")
    with channel.requests_lock:  # until that thread has passed on all that it has read
        if len(channel.requests) > 1:  # nobody may send before the 101 (RFC 6455 §4.1)
            raise HandshakeError(400, "wait for the 101 before you send frames")
        rest = channel.request.header_plus if channel.request else b""
    return Worker(channel.socket, lambda: rest)


def take(sock: socket.socket) -> tuple[PlainClient, socket.socket]:
    """Take a connection away from the owner of *sock*, to whom its peer seems to have left.

    `detach()` alone would break the owners: they want to know the descriptor, to send an answer, to
    end TCP, and to close the socket.

    Returns:
        The connection, and the peer that the owner has from now on.
    """
    family, kind, proto = sock.family, sock.type, sock.proto
    substitute, peer = socket.socketpair()
    peer.shutdown(socket.SHUT_WR)
    with substitute:
        if sys.platform != "win32":
            descriptor = os.dup(sock.fileno())
            os.dup2(substitute.fileno(), sock.fileno(), inheritable=False)
        else:  # a socket isn't a descriptor there
            timeout, references = sock.gettimeout(), sock._io_refs
            made_of = substitute.family, substitute.type, substitute.proto
            descriptor = sock.detach()
            sock.__init__(*made_of, substitute.detach())  # type: ignore[misc]
            sock._io_refs = references
            sock.settimeout(timeout)
    return PlainClient(family, kind, proto, descriptor), peer


class Sink(Source):
    """The peer of a worker that has no client any more. It ends when the worker closes its socket.

    Args:
        sock: Receives what the worker sends.
        loop: The loop that watches it.
    """

    __slots__ = ("_loop", "_sock")

    def __init__(self, sock: socket.socket, loop: Loop) -> None:
        super().__init__()
        self._sock, self._loop = sock, loop
        sock.setblocking(False)
        with suppress(OSError):  # the system can't watch it: then it ends by the deadline
            loop.watch(self, READ)
        loop.schedule(self, time.monotonic() + ANSWER_SECONDS)

    def fileno(self) -> int:
        return self._sock.fileno()

    def on_readable(self) -> None:
        try:
            ended = not self._sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended:
            self.on_fault()

    def on_deadline(self, now: float) -> None:
        self.on_fault()

    def on_fault(self) -> None:
        self._loop.forget(self)
        self._sock.close()


def _impossible(reason: str) -> HandshakeError:
    """Return the refusal of what can't be done with this WSGI server. Log it once."""
    _tell(f"no WebSocket by upgrade(): {reason}")
    return HandshakeError(501, reason)


def _tell(message: str) -> None:
    if message not in _told:
        _told.add(message)
        logger.warning("%s", message)


def _explained(response: Response, environ: Mapping[str, Any]) -> Response:
    """Add what is wrong with a rule of Flask that gets only plain requests."""
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
    if response.status != 426 or getattr(rule, "websocket", True):
        return response
    hint = f"the rule {rule} gets no WebSockets: write @app.route(..., websocket=True)"
    _tell(hint)
    return Response(426, response.body.decode() + hint + "\n", response.headers)

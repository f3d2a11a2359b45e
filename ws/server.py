"""WSServer: options, callbacks, sending, rooms, start and shutdown.

Over 400 lines, because each option and method is documented where it is defined.
"""

from __future__ import annotations

import atexit
import socket
import ssl
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, Sequence

from .admission import Admission
from .backplane import seal, unseal
from .bind import bind, bind_unix
from .engine.connection import Connection
from .engine.limits import Limits
from .engine.log import Warnings, logger
from .engine.malloc import keep_freed_memory
from .engine.overload import Overload
from .engine.sockets import Client, TLSClient
from .lifecycle import State
from .rooms import Rooms, Targets, check_client
from .service import Service
from .signals import interruptible
from .wire.deflate import Compression
from .wire.frames import CloseCode, close_payload
from .wire.http11 import Request, Response
from .wire.message import Message, PreparedMessage, PreparedMessages, encode, fragments
from .wire.proxy import Proxies
from .wsgi import Answer, hand_over

if TYPE_CHECKING:
    from .backplane import Backplane, Messages

BROADCAST_CLIENTS = 64
"""A callback that sends to at least this many clients is broadcasting, not blocking. It stays with
the leader, whose writes are batched."""


class WSServer:
    """A threaded WebSocket server (RFC 6455). It starts threads when callbacks block.

    Any thread and any callback may call any method. The callbacks of one client run one at a
    time, in order. Callbacks of different clients may run at the same time, so guard with a lock
    what they share. There is one callback of each kind: registering another one replaces it. What
    a callback returns is ignored, except for `onrequest`.

    A server belongs to the process that has started it. A child that is forked after that serves
    nobody, and holds no port. There, `clients` and `rooms` are empty, `shutdown` does nothing, and
    other methods raise RuntimeError. So fork first, then start.

    Args:
        host: Address or name to listen on. "" (the default) is all addresses of IPv4 and IPv6:
            whoever can reach this machine can connect. "localhost" admits only this machine.
        port: TCP port. With 0, the system chooses a free one; after `start`, `port` has it. With
            None, the server has no port of its own, but gets its clients from `upgrade`, and
            starts by itself when it is used first.
        cert: Path of a certificate chain in PEM, for TLS 1.2 and newer. Without TLS, anybody
            on the network path can read and change everything.
        key: Path of the certificate's private key in PEM. None if the file of cert has it.
        unix: Path of a Unix socket to listen on, instead of host and port. The permissions of
            its folder, and the umask, decide who may connect. A socket that a server has left
            behind is replaced; anything else there is an error. A shutdown removes the socket.
        sock: A socket that is listening already, as from systemd, instead of host and port. The
            server closes it.
        ssl_context: A context to use instead of cert and key. The server sets its
            `sslsocket_class`. The context decides on TLS versions, ciphers and renegotiation.
        subprotocols: Names to agree on, the best first (RFC 6455 §1.9).
        origins: Origins whose pages may connect, as "https://example.org", besides pages of this
            host. "null" stands for pages opened from a file, and "*" for all pages. With either,
            any page that a user visits can act in the user's name, with the user's cookies
            (RFC 6455 §10.2).
        hosts: Names of this server that a request's Host may have: "example.org", "[::1]" or
            "10.0.0.1" with any port, "localhost:8000" with this port, "*.example.org" for names
            below it. None (the default) accepts any Host. An attacker can then point a domain at
            this server, and its pages pass the same-origin check (DNS rebinding). So list the
            names where not everybody may connect, as on localhost and in an intranet.
        trusted_proxies: Addresses or networks ("10.0.0.0/8") of reverse proxies, or "unix" for
            all peers of a Unix socket. Their X-Forwarded-For and X-Forwarded-Proto headers
            give the client's address, and whether the client uses TLS. Both headers are ignored
            in requests from other addresses. A peer at a trusted address can pass for any client,
            so list only proxies that set both headers. `max_clients_per_address` then counts the
            proxies' clients by their addresses, those of unknown address together, and exempts
            connections of the proxies' own.
        proxy_protocol: Whether connections begin with a header of the PROXY protocol, version 1
            or 2, before TLS. This header replaces the two HTTP headers, and only trusted_proxies
            may connect.
        reuse_port: Whether other processes may listen on the same port, if they set this as well.
            The system distributes the connections (SO_REUSEPORT).
        backplane: Joins this server with others, in other processes and on other machines, so
            that `sendall` reaches the clients of all of them; see `redis.RedisBackplane`.
        compression: True, or a `Compression` with settings, to compress for clients that offer
            it. If a message mixes secrets with an attacker's text, its length reveals them.
        keep_memory: Whether the process keeps freed memory for the next messages, instead of
            returning it to the system: up to 16 times `max_message_size`, and at most 62 MiB.
            Messages of 64 KiB and more then take a quarter less CPU time. The settings are
            malloc's, so they apply to the whole program: all threads use one arena, or each would
            keep as much. C libraries other than glibc ignore them.
        **limits: The fields of `Limits`, by name.

    Raises:
        OSError: The certificate or the key can't be used.
        TypeError: An option has the wrong type, or there is no such option.
        ValueError: An option has a value that can't work.
    """

    def __init__(
        self,
        host: str = "",
        port: int | None = 8000,
        cert: str | None = None,
        key: str | None = None,
        *,
        unix: str | None = None,
        sock: socket.socket | None = None,
        ssl_context: ssl.SSLContext | None = None,
        subprotocols: str | Sequence[str] = (),
        origins: str | Sequence[str] = (),
        hosts: str | Sequence[str] | None = None,
        trusted_proxies: str | Sequence[str] = (),
        proxy_protocol: bool = False,
        reuse_port: bool = False,
        backplane: Backplane | None = None,
        compression: bool | Compression = False,
        keep_memory: bool = True,
        **limits: Any,
    ) -> None:
        if key and not cert:
            raise ValueError("key= needs cert=")
        if port is None and (cert or unix or sock or ssl_context or proxy_protocol or reuse_port):
            raise ValueError("port=None takes no option for connections of the server's own")
        if port is not None and not 0 <= port <= 65535:
            raise ValueError(f"port must be from 0 to 65535, not {port}")
        if proxy_protocol and not trusted_proxies:
            raise ValueError("proxy_protocol= needs trusted_proxies=")
        if reuse_port and not hasattr(socket, "SO_REUSEPORT"):
            raise ValueError("this system has no SO_REUSEPORT for reuse_port=")
        self.host: str = host
        self.port: int = port or 0
        self.limits: Limits = Limits(**limits)
        self.subprotocols: Sequence[str] = _listed(subprotocols)
        self.origins: Sequence[str] = _listed(origins)
        self._unix, self._sock, self._reuse_port = unix, sock, reuse_port
        self._listens = port is not None
        self._starting = threading.Lock()  # held while a server without a port starts by itself
        self._cert, self._key, self._context = cert, key, ssl_context
        if cert and not ssl_context:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
            self._context.options |= ssl.OP_NO_RENEGOTIATION  # defence: renegotiation
            self.reload_cert()
        if self._context:
            self._context.sslsocket_class = TLSClient
        self._backplane, self._keep_memory = backplane, keep_memory
        self._rooms = Rooms(backplane.count if backplane else _uncounted)
        self._clients = self._rooms.clients
        warnings = Warnings()
        self._service = Service(
            self.limits,
            context=self._context,
            subprotocols=self.subprotocols,
            compression=Compression() if compression is True else compression or None,
            proxy_protocol=proxy_protocol,
            admission=Admission(
                self.limits,
                overload=Overload(self.limits, warnings.warn),
                origins=self.origins,
                hosts=None if hosts is None else _listed(hosts),
                proxies=Proxies(_listed(trusted_proxies)),
                proxy_protocol=proxy_protocol,
                warn=warnings.warn,
            ),
            rooms=self._rooms,
            warnings=warnings,
            locks=[backplane.lock] if backplane and backplane.lock else [],
            release=self._release,
        )
        self._lifecycle = self._service.lifecycle

    # Callbacks. Each registrar returns the callback, so that it serves as a decorator.

    def onopen(self, callback: Callable[[Client], Any]) -> Callable[[Client], Any]:
        """Call ``callback(client)`` when a client has connected.

        The client is added to `clients` before that, so a message of `sendall` may reach it before
        the callback has run. If this matters, `join` the client to a room in the callback, and
        send to the room.
        """
        self._service.onopen = callback
        return callback

    def onmessage(self, callback: Callable[[Client, Any], Any]) -> Callable[[Client, Any], Any]:
        """Call ``callback(client, message)`` for each message: str for text, bytes for binary."""
        self._service.message = callback
        return callback

    def onclose(self, callback: Callable[[Client], Any]) -> Callable[[Client], Any]:
        """Call ``callback(client)`` when a client has left: exactly once for each `onopen`.

        The client is no longer in `clients`. Its `close_code` and `close_reason` tell why it left.
        """
        self._service.onclose = callback
        return callback

    def onerror(
        self, callback: Callable[[Client, BaseException], Any]
    ) -> Callable[[Client, BaseException], Any]:
        """Call ``callback(client, exception)`` when another callback has raised.

        By then the exception is logged, and the client is being closed with 1011. If `onrequest`
        raised, the client has been answered with 500 instead. An exception that this callback
        raises is logged.
        """
        self._service.onerror = callback
        return callback

    def onrequest(
        self, callback: Callable[[Request], Response | None]
    ) -> Callable[[Request], Response | None]:
        """Call ``callback(request)`` for each valid HTTP request, before it is answered.

        The callback returns None to continue, or a `Response`: a page, a health check, or the
        refusal of a WebSocket (``request.is_upgrade``). ``Response(101, headers=...)`` accepts the
        WebSocket with additional headers. If the callback raises, the answer is 500. The callback
        may block.
        """
        self._service.onrequest = callback
        return callback

    def upgrade(
        self,
        environ: Mapping[str, Any],
        *,
        data: Mapping[Any, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Take a WebSocket over from the WSGI server that serves the application (PEP 3333).

        The request is checked as if it had come to a port of this server: limits on connections,
        `hosts`, the handshake, `origins`, and `onrequest`. If it passes, its connection is this
        server's from now on, and the WSGI server's worker is free.

        It works under gunicorn (sync and gthread), waitress, cheroot, Werkzeug, wsgiref and
        Django's runserver, without TLS of their own. Elsewhere the answer is 501, and the log says
        why. While the process ends in order, clients are closed with 1001.

        Args:
            environ: The environ of the request.
            data: Items for `request.data`, which is `client.data`.
            headers: Header fields for the 101 response, such as Set-Cookie.

        Returns:
            What the application has to answer: a WSGI application, which a view of Flask can
            return. It has a `status`, `headers` and a `body`, for a view of Django.

        Raises:
            ValueError: A header is malformed, or one that only the server may set.
            RuntimeError: The server doesn't run, and has a port; or it was started in another
                process, from which this one was forked; or the system can't start a thread.
        """
        return hand_over(self._service, self._start_here, environ, data, headers)

    def _start_here(self) -> None:
        self._start_unbound()
        if self._lifecycle.state is State.NEW:
            raise RuntimeError("start() the server first, or make it with port=None")
        self._lifecycle.check_process()

    # Clients

    @property
    def clients(self) -> list[Client]:
        """All current clients, in order of arrival. The list is a copy."""
        return list(self._clients)

    def send(
        self, client: Client, message: Message | Iterable[Message], *, compress: bool | None = None
    ) -> bool:
        """Send a message to one client: str as text, bytes-like as binary.

        While the client's queue is over its high-water mark (`max_queue_size`), it blocks, for at
        most `send_timeout` seconds (for each fragment). Then the message is queued all the same,
        unless the client is too slow: nothing has left its queue for so long. Then it is cut.

        Args:
            client: The client.
            message: The message. An iterable of str or of bytes-like objects is sent as one
                message: each item is a fragment, sent as soon as the iterable yields it (RFC 6455
                §5.4). If the iterable raises after a fragment was sent, the client is closed with
                1011.
            compress: Whether to compress the message for a client that accepts compression. With
                None, `Compression.threshold` decides. Fragments are never compressed.

        Returns:
            Whether the message was accepted for sending. False if the client is closing, has
            left, or was cut because it was too slow.

        Raises:
            TypeError: The message has another type, or *client* is not a `Client`.
            UnicodeEncodeError: A str has a lone surrogate.
        """
        connection = self._clients.get(client)
        if connection is None:
            self._check_absent(client)
            return False
        outbox, timeout = connection.outbox, self.limits.send_timeout
        if not isinstance(message, (str, bytes, bytearray, memoryview)):
            return connection.put_fragments(fragments(message), timeout)
        if outbox.deflate is None:
            return outbox.put(encode(message), timeout, 1, True)
        return outbox.put_prepared(PreparedMessage(encode(message), compress), timeout, True)

    def _check_absent(self, client: Any) -> None:
        """Check why there is no connection for a client: that it has left is no error."""
        check_client(client)
        self._lifecycle.check_process()

    def sendall(
        self,
        message: Message,
        *,
        to: Targets | None = None,
        exclude: Targets = (),
        compress: bool | None = None,
    ) -> int:
        """Send a message to all clients. Never blocks.

        `slow_client` decides what happens to a client that is too slow: more than `max_queue_size`
        waits for it, and nothing of that has left for `send_timeout` seconds. With a backplane, the
        message also reaches clients of the other servers, unless *to* is a client or clients.

        Args:
            message: str is sent as text, bytes-like as binary.
            to: Send only to the clients in this room, to this client, or to these clients.
            exclude: A room, a client or clients that don't get the message.
            compress: See `send`.

        Returns:
            The number of this server's clients for which the message was accepted.

        Raises:
            TypeError: The message is neither str nor bytes-like, or *to* or *exclude* has another
                type.
            UnicodeEncodeError: A str has a lone surrogate.
        """
        connections = self._rooms.select(to, exclude)
        if not connections:
            self._lifecycle.check_process()
        prepared = PreparedMessage(encode(message), compress, len(connections) > 1)
        if len(connections) >= BROADCAST_CLIENTS:
            self._service.threads.keep_lead()
        accepted = self._put_to_all(connections, prepared)
        if self._backplane and (to is None or isinstance(to, str)):
            excluded_room = exclude if isinstance(exclude, str) else ""
            self._start_unbound()
            self._backplane.publish(to, seal(prepared.plain, compress, excluded_room))
        return accepted

    def _put_to_all(
        self, connections: Iterable[Connection], message: PreparedMessage | PreparedMessages
    ) -> int:
        """Send to many clients without waiting. Return how many accepted it."""
        buffer, count, accepted = message.buffer, message.count, 0
        cut = self.limits.slow_client == "close"
        for connection in connections:
            outbox = connection.outbox
            if outbox.deflate is None:
                accepted += outbox.put(buffer, 0, count, cut)
            else:
                accepted += outbox.put_prepared(message, 0, cut)
        return accepted

    def _deliver(self, messages: Messages) -> None:
        """Send messages that other servers published. One client's messages leave together."""
        queues: dict[Connection, list[PreparedMessage]] = {}
        for room, sealed in messages:
            message, exclude = unseal(sealed)
            for connection in self._rooms.select(room, exclude):
                queues.setdefault(connection, []).append(message)
        alike: dict[tuple[int, ...], list[Connection]] = {}  # who get the same messages share them
        for connection, queue in queues.items():
            alike.setdefault(tuple(map(id, queue)), []).append(connection)
        for connections in alike.values():
            self._put_to_all(connections, PreparedMessages(queues[connections[0]]))

    def close(self, client: Client, code: int = CloseCode.NORMAL, reason: str = "") -> bool:
        """Begin the closing handshake (RFC 6455 §7.1.2). Never blocks.

        The close frame is sent after all messages that were accepted for the client. Messages
        from the client are ignored from now on. If it doesn't answer within `close_timeout`, it
        is cut.

        Args:
            client: The client.
            code: 1000, or 3000 to 4999 for codes of your own; see RFC 6455 §7.4.
            reason: At most 123 bytes in UTF-8.

        Returns:
            False if the client was closing already, or has left.

        Raises:
            TypeError: *client* is not a `Client`.
            ValueError: The code may not be sent, or the reason is too long.
        """
        close_payload(code, reason)
        connection = self._clients.get(client)
        if connection is None:
            self._check_absent(client)
            return False
        return connection.close(code, reason)

    def ping(self, client: Client) -> bool:
        """Send a ping. Its pong sets `client.latency`. Never blocks.

        Returns:
            False if no ping was sent: the client is closing or has left, or over 64 KiB are
            queued for it.

        Raises:
            TypeError: *client* is not a `Client`.
        """
        connection = self._clients.get(client)
        if connection is None:
            self._check_absent(client)
            return False
        return connection.ping()

    def join(self, client: Client, room: str) -> None:
        """Put a client into a room, until it leaves the room or the server. Never blocks.

        If the client has left the server already, nothing happens.

        Args:
            client: The client.
            room: Any string. A room exists while a client is in it.
        """
        self._lifecycle.check_process()
        self._rooms.join(client, room)

    def leave(self, client: Client, room: str) -> None:
        """Take a client out of a room. A room without clients vanishes."""
        self._rooms.leave(client, room)

    def presence(self, room: str | None = None) -> int:
        """Return the number of clients, in all or in a room; with a backplane, on all servers.

        With a backplane, this may block: the backplane is asked. While it can't be reached, only
        this server's clients count. With `RedisBackplane`, a change on another server counts
        within milliseconds; the clients of a server that was killed count for up to 15 seconds.

        Args:
            room: The room, or None for all clients.
        """
        self._lifecycle.check_process()
        if not self._backplane:
            return self._rooms.presence(room)
        self._start_unbound()
        return self._backplane.presence(room)

    @property
    def rooms(self) -> dict[str, list[Client]]:
        """All rooms with the clients in them, in order of joining. The dict is a copy."""
        return self._rooms.snapshot()

    def stats(self) -> dict[str, Any]:
        """Return a snapshot of counters.

        Returns:
            Totals since the start: connections (refused ones and plain HTTP included), bytes_in,
            bytes_out, messages_in, messages_out; and for lack of memory, memory_refusals and
            memory_cuts (connections) and memory_pauses (times that one was no longer read). Now:
            active_connections (those in a handshake and closing ones included), queued (bytes),
            memory (bytes of `max_memory` that are held), max_memory, threads, and clients.
            `clients` is a list with a dict for each client, in order of arrival: address,
            bytes_in, bytes_out, messages_in, messages_out, queued (bytes), memory (bytes, with
            its part of what several hold), and latency (seconds, or None). With a backplane:
            backplane, what its own `stats` returned.
        """
        self._lifecycle.check_process()
        running = self._lifecycle.state in (State.RUNNING, State.STOPPING)
        threads = self._service.threads.count if running else 0
        stats = self._service.metrics.snapshot(self._clients.copy(), threads)
        return {**stats, "backplane": self._backplane.stats()} if self._backplane else stats

    # Lifecycle

    def start(self) -> WSServer:
        """Listen, and serve in the background. Return the server itself.

        If this raises, nothing is left running, and it may be called again.

        Raises:
            OSError: The server can't listen at its address.
            RuntimeError: The server was started or shut down before: a server runs only once. Or
                the system can't start a thread.
        """
        self._lifecycle.begin()
        with ExitStack() as undo:
            undo.callback(self._lifecycle.abort)
            sockets = self._bind()
            if not self._sock:
                for sock in sockets:
                    undo.callback(sock.close)
            if self._backplane:
                undo.callback(self._stop_backplane, 1.0)
                self._backplane.start(self._deliver)
            if self._keep_memory:
                keep_freed_memory(8 * self.limits.max_message_size)
            self._service.start(sockets)
            undo.pop_all()
        atexit.register(self._exit)  # defence: exit-handler
        return self

    def _start_unbound(self) -> None:
        """Start a server without a port, unless it was started. Any thread may call it."""
        if self._listens or self._lifecycle.stopping:
            return
        with self._starting:
            if self._lifecycle.state is State.NEW:
                self.start()

    def _bind(self) -> list[socket.socket]:
        if not self._listens:
            return []
        if self._sock:
            name = self._sock.getsockname()
            if isinstance(name, tuple):
                self.host, self.port = name[:2]
            else:
                self._unix = name
            return [self._sock]
        if self._unix:
            return [bind_unix(self._unix)]
        sockets, self.port = bind(self.host, self.port, self._reuse_port)
        return sockets

    def _release(self, timeout: float) -> None:
        atexit.unregister(self._exit)
        self._stop_backplane(timeout)

    def _stop_backplane(self, timeout: float) -> None:
        try:
            if self._backplane:
                self._backplane.stop(timeout)
        except Exception:
            logger.exception("the backplane can't stop, and is left as it is")

    def run(self) -> None:
        """Serve until `shutdown`, Ctrl-C or SIGTERM; then close all clients and return.

        If the server was started already, only wait. On a terminal, print one line with the URL.
        Signals are handled only in the main thread, and only if the program hasn't installed
        handlers of its own.

        Raises:
            OSError: The server can't listen at its address.
            RuntimeError: The server was shut down before it was started, or the system can't
                start a thread.
        """
        self._lifecycle.check_process()
        with interruptible(self.shutdown):
            if self._lifecycle.state is State.NEW:
                self.start()
                if sys.stdout is not None and sys.stdout.isatty():
                    print(f"Serving on {self.url} (Ctrl-C ends it)", flush=True)
            while self._lifecycle.active:
                # On Windows, an endless wait can't be interrupted.
                self._lifecycle.wait(0.5 if sys.platform == "win32" else -1)

    @property
    def url(self) -> str:
        """The URL at which a client on this machine can connect; "" with port=None."""
        if self._unix:
            return f"ws+unix://{self._unix}"
        if not self._listens:
            return ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        host = "localhost" if host in ("", "0.0.0.0", "[::]") else host
        return f"{'wss' if self._context else 'ws'}://{host}:{self.port}/"

    def __enter__(self) -> WSServer:
        return self.start() if self._lifecycle.state is State.NEW else self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()

    def shutdown(self, timeout: float = 5.0) -> bool:
        """Stop: accept nobody, and close all clients with 1001, after what is queued for them.

        Any thread, callback or signal handler may call it, more than once. It blocks until the
        server has ended, but returns at once in three cases, and the shutdown goes on without it:

        - inside a callback,
        - in a signal handler that has interrupted a call of this library which holds a lock,
        - while another thread is in `start`.

        Args:
            timeout: Seconds that clients have to leave, at most an hour. Then they are cut. A
                later call can shorten the time, but not extend it.

        Returns:
            Whether the server isn't running, and no client had to be cut.
        """
        self._lifecycle.stop(timeout)
        if self._lifecycle.state in (State.RUNNING, State.STOPPING):
            if not self._service.threads.inside():
                self._lifecycle.wait(min(max(timeout, 0), 3600))
        return self._lifecycle.clean

    def _exit(self) -> None:
        """Shut down when the interpreter exits, unless this is a forked child."""
        if self._lifecycle.active and not self._lifecycle.stopping:
            self.shutdown()

    def reload_cert(self) -> None:
        """Read the files `cert` and `key` again, for new connections.

        Connections that exist are not affected.

        Raises:
            OSError: The files can't be used. The message names them. The old certificate stays in
                use.
            ValueError: The server was made without cert.
        """
        if not (self._context and self._cert):
            raise ValueError("reload_cert needs a server made with cert=")
        files = " and ".join(filter(None, (self._cert, self._key)))
        probe = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            for context in (probe, self._context):
                context.load_cert_chain(self._cert, self._key)
        except OSError as error:
            unfit = isinstance(error, ssl.SSLError)
            why = "not a certificate in PEM and its private key" if unfit else error.strerror
            raise OSError(error.errno, f"can't use {files}: {why}")


def _listed(option: str | Sequence[str]) -> Sequence[str]:
    return [option] if isinstance(option, str) else option


def _uncounted(room: str | None, clients: int) -> None:
    """Stand in for `Backplane.count`."""

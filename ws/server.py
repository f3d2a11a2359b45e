"""WSServer: options, callbacks, fan-out, lifecycle."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import signal
import socket
import ssl
import struct
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Callable, Iterable, Sequence, Union

from .client import OPEN, Client, Connection, TLSClient
from .deflate import Compression, Outgoing, negotiate
from .frames import ABNORMAL, BINARY, CLOSE, GOING_AWAY, INTERNAL_ERROR, NORMAL, PING, PONG
from .frames import Message, close_payload, encode, fragments
from .handshake import HandshakeError, Request, Response, accept, check_host, check_upgrade
from .handshake import choose_subprotocol, not_an_upgrade, parse_extensions, parse_hosts
from .limits import Limits
from .listen import Listener, ProxiedConnection, bind, bind_unix
from .loop import DECIDE, GONE, LONGEST_POLL, MANY, OPENED, REQUEST, Loop, Source
from .protocol import FAIL, Event
from .proxy import Proxies

if TYPE_CHECKING:
    from .backplane import Backplane

REFUSED_SPARE = 100  # defence: refused-count
"""Connections over a bound that still get an answer; beyond, they are just closed."""
CUT_SECONDS = 0.2
"""So long before the end of a shutdown the clients that haven't left are cut."""
LARGEST_BLOCK = 31 << 20
"""Bytes; malloc learns nothing from a block that is larger."""
WARN_SECONDS = 10.0
"""A warning that peers can cause is logged once in this time."""
COUNTERS = ("bytes_in", "bytes_out", "messages_in", "messages_out")
"""What is counted for each connection."""
ENVELOPE = struct.Struct("!bI")
"""On the backplane, ahead of a frame: *compress*, -1 for None, and how long the name of the
excluded room is, which follows."""

logger = logging.getLogger("ws")
logger.addHandler(logging.NullHandler())

Targets = Union[str, Client, Iterable[Client]]


class WSServer:
    """A WebSocket server on threads that appear on demand (RFC 6455).

    host: address or name to listen on; '', the default, for all of IPv4 and IPv6: whoever can
        reach this machine can connect. "localhost" is for this machine alone.
    port: 0 for a free one, see `port` after `start`.
    cert, key: paths of a certificate chain and its key, in PEM, for TLS 1.2 and up. Without
        TLS, whoever is on the way can read and change everything.
    unix: path of a Unix socket to listen on, in place of host and port. The permissions of its
        folder, and the umask, say who may connect.
    sock: a socket that listens already (systemd), in place of host and port.
    ssl_context: in place of cert and key; its `sslsocket_class` is set. What it allows of old
        versions, ciphers and renegotiation is allowed.
    subprotocols: names to agree on, the best first (RFC 6455 §1.9).
    origins: what pages may connect besides those of this host, as "https://example.org";
        "null" for pages opened from a file, "*" for any. The latter two let every page that
        the user visits act in the user's name, cookies included (RFC 6455 §10.2).
    hosts: what this server may be called, in the Host of a request: "example.org", "[::1]" or
        "10.0.0.1" with any port, "localhost:8000" with this, "*.example.org" for what is below.
        None, the default, is any name, even one that an attacker gives to this server's
        address, so that the attacker's pages count as of this host (DNS rebinding): list the
        names where not everybody may connect, as on localhost and in an intranet.
    trusted_proxies: addresses or networks ("10.0.0.0/8") of reverse proxies, or "unix" for all
        peers of a Unix socket. Their X-Forwarded-For and X-Forwarded-Proto say who the client
        is and whether it came over TLS; in requests of others both are ignored. Whoever connects
        from there can pass for any client, so list only proxies that set both headers, and
        `max_clients_per_address` applies to the clients they tell.
    proxy_protocol: whether connections begin with the header of the PROXY protocol, version 1
        or 2, ahead of TLS; it takes the place of those headers. Only trusted_proxies may
        connect then, and the same goes for them.
    reuse_port: whether other processes may listen on the same port, if they say so as well; the
        system spreads connections over them (SO_REUSEPORT).
    backplane: joins this server with others, in other processes and on other machines, so that
        `sendall` reaches the clients of all of them; see `backplane.RedisBackplane`.
    compression: True, or a `Compression` with settings, to compress for clients that offer it.
        Where a message mixes secrets with an attacker's text, its length gives them away.
    limits: see `Limits`.

    Every method may be called from any thread and from inside a callback. A client's callbacks
    run one at a time and in order; those of different clients may run at the same time.
    """

    def __init__(
        self,
        host: str = "",
        port: int = 8000,
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
        **limits: Any,
    ) -> None:
        if key and not cert:
            raise ValueError("key= needs cert=")
        if not 0 <= port <= 65535:
            raise ValueError(f"port must be from 0 to 65535, not {port}")
        if proxy_protocol and not trusted_proxies:
            raise ValueError("proxy_protocol= needs trusted_proxies=")
        if reuse_port and not hasattr(socket, "SO_REUSEPORT"):
            raise ValueError("this system has no SO_REUSEPORT for reuse_port=")
        self.host, self.port = host, port
        self.limits = Limits(**limits)
        self.subprotocols, self.origins = _listed(subprotocols), _listed(origins)
        self._hosts = None if hosts is None else parse_hosts(_listed(hosts))
        self._proxies, self._proxy_protocol = Proxies(_listed(trusted_proxies)), proxy_protocol
        proxied = functools.partial(ProxiedConnection, told=self._told, warn=self._warn)
        self._connect: Callable[..., Connection] = proxied if proxy_protocol else Connection
        self._compression = Compression() if compression is True else compression or None
        self._cert, self._key, self._unix, self._sock = cert, key, unix, sock
        self._context = ssl_context
        if cert and not ssl_context:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
            self._context.options |= ssl.OP_NO_RENEGOTIATION  # defence: renegotiation
            self.reload_cert()
        if self._context:
            self._context.sslsocket_class = TLSClient
        self._reuse_port, self._backplane = reuse_port, backplane
        self._onopen: Callable[..., Any] = _ignore
        self._onmessage: Callable[..., Any] = _ignore
        self._onclose: Callable[..., Any] = _ignore
        self._onerror: Callable[..., Any] = _ignore
        self._onrequest: Callable[[Request], Response | None] | None = None
        self._loop: Loop
        self._listeners: list[Listener] = []
        self._warned: dict[str, float] = {}  # by message, when it may be logged again
        self._started = self._running = False
        self._end = threading.Lock()  # held while running
        self._stopping: float | None = None  # the deadline of a shutdown
        self._cut_by: float | None = None  # when those that were cut have had their time
        self._stopper = _Stopper(self._stop)

        self._lock = threading.Lock()  # guards what follows, for a few operations at a time
        self._connections: set[Connection] = set()  # handshakes and closings included
        self._addresses: Counter[str] = Counter()  # of them, by IP address
        self._totals: Counter[str] = Counter(dict.fromkeys(("connections", *COUNTERS), 0))
        self._clients: dict[Client, None] = {}  # in order of arrival
        self._rooms: dict[str, dict[Client, None]] = {}
        self._memberships: dict[Client, set[str]] = {}  # the rooms of each client in any
        self._finishing = 0  # onclose callbacks in progress

    # Callbacks. Each registrar returns the callback, so that it serves as a decorator.

    def onopen(self, callback: Callable[[Client], Any]) -> Callable[[Client], Any]:
        """Call ``callback(client)`` when a client has connected.

        It is in `clients` already, and gets what others `sendall` meanwhile: where that matters,
        `join` a room in the callback and send to that.
        """
        self._onopen = callback
        return callback

    def onmessage(self, callback: Callable[[Client, Any], Any]) -> Callable[[Client, Any], Any]:
        """Call ``callback(client, message)`` for each message: str for text, bytes for binary."""
        self._onmessage = callback
        return callback

    def onclose(self, callback: Callable[[Client], Any]) -> Callable[[Client], Any]:
        """Call ``callback(client)`` once a client has left, exactly once for each onopen.

        It is no longer in `clients`; its `close_code` and `close_reason` tell why.
        """
        self._onclose = callback
        return callback

    def onerror(
        self, callback: Callable[[Client, BaseException], Any]
    ) -> Callable[[Client, BaseException], Any]:
        """Call ``callback(client, exception)`` with what another callback raised.

        It has been logged, and the client is being closed with 1011.
        """
        self._onerror = callback
        return callback

    def onrequest(
        self, callback: Callable[[Request], Response | None]
    ) -> Callable[[Request], Response | None]:
        """Call ``callback(request)`` for each HTTP request that is in order, before the 101.

        It returns None to go on, or a Response: for pages and health checks, or to refuse a
        WebSocket (``request.is_upgrade``). ``Response(101, headers=...)`` accepts, with
        additional headers. If it raises, the answer is 500.
        """
        self._onrequest = callback
        return callback

    # Clients

    @property
    def clients(self) -> list[Client]:
        """All current clients, in order of arrival; a list of its own."""
        return list(self._clients)

    def send(
        self, client: Client, message: Message | Iterable[Message], *, compress: bool | None = None
    ) -> bool:
        """Send a message to one client: str as text, bytes-like as binary.

        An iterable of either is sent as one message, a fragment each (RFC 6455 §5.4), as they
        come. compress: whether to compress for a client that takes it; None leaves it to
        `Compression.threshold`; fragments never are.
        Returns whether the message was accepted for sending: False if the client is closing or
        gone, or is cut because its queue (`max_queue_size`) stayed full for `send_timeout`
        seconds, which is how long this may block. Raises TypeError for anything else as a
        message.
        """
        connection = client._connection
        if not isinstance(message, (str, bytes, bytearray, memoryview)):
            return connection.send_fragments(fragments(message), self.limits.send_timeout)
        if connection.deflate is None:
            return connection.send(encode(message), self.limits.send_timeout)
        return connection.send_message(Outgoing(message, compress), self.limits.send_timeout)

    def sendall(
        self,
        message: Message,
        *,
        to: Targets | None = None,
        exclude: Targets = (),
        compress: bool | None = None,
    ) -> int:
        """Send a message to all clients; never blocks. Returns how many it was accepted for.

        to: only to the clients in this room, to this client, or to these. exclude: not to those.
        compress: see `send`. Of a client whose queue is full, `slow_client` says what becomes.
        With a backplane, all clients and rooms mean those of the other servers, too; they don't
        count in what is returned.
        """
        outgoing = Outgoing(message, compress)
        clients = self._targets(to, exclude)
        if len(clients) >= MANY:
            self._loop.broadcasting = True
        plain, accepted = outgoing.plain, 0
        for connection in [client._connection for client in clients]:
            if connection.deflate is None:
                accepted += connection.send(plain, 0)
            else:
                accepted += connection.send_message(outgoing, 0)
        if self._backplane and (to is None or isinstance(to, str)):
            room = exclude.encode(errors="surrogatepass") if isinstance(exclude, str) else b""
            head = ENVELOPE.pack(-1 if compress is None else compress, len(room))
            self._backplane.publish(to, head + room + outgoing.plain)
        return accepted

    def _targets(self, to: Targets | None, exclude: Targets) -> list[Client]:
        clients = self.clients if to is None else self._resolve(to)
        if exclude:
            excluded = set(self._resolve(exclude))
            clients = [client for client in clients if client not in excluded]
        return clients

    def _deliver(self, messages: Iterable[tuple[str | None, bytes]]) -> None:
        """Send on what other servers have sent to all or to rooms."""
        queues: dict[Client, list[Outgoing]] = {}
        for room, message in messages:
            compress, length = ENVELOPE.unpack_from(message)
            start = ENVELOPE.size + length
            exclude = message[ENVELOPE.size : start].decode(errors="surrogatepass")
            outgoing = Outgoing(b"", None if compress < 0 else bool(compress))
            outgoing.plain = message[start:]
            for client in self._targets(room, exclude):
                queues.setdefault(client, []).append(outgoing)
        for client, queue in queues.items():
            connection = client._connection
            if connection.deflate:
                for outgoing in queue:
                    connection.send_message(outgoing, 0)
            else:
                plain = b"".join([outgoing.plain for outgoing in queue])
                connection.send(plain, 0, messages=len(queue))

    def close(self, client: Client, code: int = NORMAL, reason: str = "") -> bool:
        """Start the closing handshake; messages still queued go out first (RFC 6455 §7.1.2).

        The client is cut if it doesn't answer within `close_timeout`. What it sends meanwhile is
        ignored. Returns False if it was closing already. Raises ValueError for a code that may
        not be sent, or a reason of over 123 bytes.
        """
        close_payload(code, reason)
        return client._connection.close(code, reason)

    def ping(self, client: Client) -> bool:
        """Send a ping; when its pong comes back, `client.latency` is set. Never blocks."""
        return client._connection.ping()

    def join(self, client: Client, room: str) -> None:
        """Put a client in a room, until it leaves or is gone."""
        with self._lock:  # defence: lock-of-joining
            if client in self._clients:
                self._rooms.setdefault(room, {})[client] = None
                self._memberships.setdefault(client, set()).add(room)
                self._count(room)

    def leave(self, client: Client, room: str) -> None:
        """Take a client out of a room; rooms without clients vanish."""
        with self._lock:  # defence: lock-of-leaving
            if room in self._memberships.get(client, ()):
                self._memberships[client].discard(room)
                self._leave(client, room)

    def _leave(self, client: Client, room: str) -> None:
        members = self._rooms[room]
        del members[client]
        if not members:
            del self._rooms[room]
        self._count(room)

    def _count(self, room: str | None) -> None:
        """Tell the backplane how many clients there are here; for the holder of `_lock`."""
        if self._backplane:
            clients = self._clients if room is None else self._rooms.get(room, ())
            self._backplane.count(room, len(clients))

    def presence(self, room: str | None = None) -> int:
        """Return how many clients there are, or are in a room; with a backplane, on all servers.

        That may wait for the backplane. Without it, or while it is away, it is those of this
        server. Another server's clients are counted within milliseconds, and those of one that
        was killed for up to 15 seconds more.
        """
        if self._backplane:
            return self._backplane.presence(room)
        with self._lock:
            return len(self._clients if room is None else self._rooms.get(room, ()))

    @property
    def rooms(self) -> dict[str, list[Client]]:
        """All rooms with the clients in them, in order of joining; a snapshot."""
        with self._lock:
            return {room: list(members) for room, members in self._rooms.items()}

    def _resolve(self, targets: Targets) -> list[Client]:
        if isinstance(targets, str):
            with self._lock:
                return list(self._rooms.get(targets, ()))
        return [targets] if isinstance(targets, Client) else list(targets)

    def stats(self) -> dict[str, Any]:
        """Return a snapshot of counters.

        Totals since the start: connections, bytes_in, bytes_out, messages_in, messages_out.
        Now: queued (bytes), threads, and clients, a list of a dict per client in order of
        arrival, with address, the same counters, and latency (seconds, or None). With a
        backplane: backplane, a dict of what it says of itself.
        """
        with self._lock:
            connections, totals = list(self._connections), Counter(self._totals)
        for connection in connections:
            totals.update(_counters(connection))
        clients = [
            {
                "address": client.getpeername(),
                "queued": client._connection.queued,
                "latency": client.latency,
                **_counters(client._connection),
            }
            for client in self.clients
        ]
        queued = sum(connection.queued for connection in connections)
        threads = self._loop.threads if self._running else 0
        stats = {**totals, "queued": queued, "threads": threads, "clients": clients}
        return {**stats, "backplane": self._backplane.stats()} if self._backplane else stats

    # Lifecycle

    def start(self) -> WSServer:
        """Listen and serve in the background. Raises OSError if it can't listen there.

        A server runs once: RuntimeError the second time.
        """
        if self._started or self._stopping is not None:
            raise RuntimeError("a server runs once: make a new WSServer")
        if self._sock:
            sockets, name = [self._sock], self._sock.getsockname()
            if isinstance(name, tuple):
                self.host, self.port = name[:2]
            else:
                self._unix = name
        elif self._unix:
            sockets = [bind_unix(self._unix)]
        else:
            sockets, self.port = bind(self.host, self.port, self._reuse_port)
        self._started = True
        _keep_freed_memory(8 * self.limits.max_message_size)
        self._loop = loop = Loop(self._run, self.limits.threads)
        self._listeners = [Listener(sock, loop, self._admit, self._warn) for sock in sockets]
        self._end.acquire()
        loop.start()
        if self._backplane:
            self._backplane.start(self._deliver)
        self._running = True
        self._pid = os.getpid()
        atexit.register(self._exit)  # defence: exit-handler
        if self._stopping is not None:  # a shutdown came meanwhile
            loop.schedule(self._stopper, 0)
        return self

    def run(self) -> None:
        """Serve until `shutdown`, Ctrl-C or SIGTERM; then close all clients and return.

        On a terminal, prints one line with the URL. Signals are looked after only in the main
        thread, and only where the program hasn't installed handlers of its own.
        """
        main = threading.current_thread() is threading.main_thread()
        terminate = main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        if terminate:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            if not self._started:
                self.start()
                if sys.stdout is not None and sys.stdout.isatty():
                    print(f"Serving on {self.url} (Ctrl-C ends it)", flush=True)
            while self._running:  # on Windows an endless wait can't be interrupted
                self._wait(0.5 if sys.platform == "win32" else -1)
        except KeyboardInterrupt:
            self.shutdown()
        finally:
            if terminate:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)

    @property
    def url(self) -> str:
        """Where a client on this machine finds the server."""
        if self._unix:
            return f"ws+unix://{self._unix}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        host = "localhost" if host in ("", "0.0.0.0", "[::]") else host
        return f"{'wss' if self._context else 'ws'}://{host}:{self.port}/"

    def __enter__(self) -> WSServer:
        return self if self._started else self.start()

    def __exit__(self, *exc: object) -> None:
        self.shutdown()

    def shutdown(self, timeout: float = 5.0) -> bool:
        """Stop: no new connections, 1001 to all clients after what is queued for them.

        Returns within *timeout* seconds (an hour at most) whether everybody left in time; the
        others are cut. It may be called more than once, and from anywhere. From inside a
        callback, or from a signal handler that interrupted one of this library's calls, it
        returns at once, since the rest can only follow when that has returned.
        """
        timeout = min(max(timeout, 0), LONGEST_POLL)
        deadline = time.monotonic() + timeout
        self._stopping = min(deadline, self._stopping or deadline)
        if self._running:
            self._loop.schedule(self._stopper, 0)
            if not (self._loop.inside() or _interrupted()):
                self._wait(timeout)
        return not self._running and self._cut_by is None

    def _exit(self) -> None:
        """Shut down when the interpreter exits, unless that was tried or this is a forked child."""
        if self._stopping is None and self._pid == os.getpid():
            self.shutdown()

    def reload_cert(self) -> None:
        """Read `cert` and `key` again; new connections get them, the others stay.

        Raises OSError that names the files if they can't be used, and the old ones stay in use.
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

    def _wait(self, timeout: float = -1) -> None:
        """Wait for the end; by a bare lock, which a signal handler may wait for as well."""
        if self._end.acquire(timeout=timeout):
            self._end.release()

    def _stop(self, now: float) -> None:
        """Go on with a shutdown; the leader calls this when a step of it is due."""
        assert self._stopping is not None
        for listener in self._listeners:
            listener.close()
        with self._lock:
            connections, finishing = list(self._connections), self._finishing
        if not (connections or finishing) or (self._cut_by is not None and now >= self._cut_by):
            if self._backplane:
                self._backplane.stop(max(CUT_SECONDS, self._stopping - now))
            self._loop.stop()
            self._running = False
            atexit.unregister(self._exit)
            if self._unix and not self._sock:
                with suppress(OSError):  # somebody else has tidied up
                    os.unlink(self._unix)
            self._end.release()
            return
        for connection in connections:
            if connection.stage < OPEN:
                connection.answer(Response(503, "server is shutting down\n"))
            connection.close(GOING_AWAY, "server is shutting down")
        if now >= self._stopping - CUT_SECONDS:
            self._cut_by = self._cut_by or now + CUT_SECONDS
            for connection in connections:
                connection.give_up("server shut down")
        later = self._cut_by or self._stopping - CUT_SECONDS
        self._loop.schedule(self._stopper, later if self._connections or finishing else 0)

    # Connections; the leader calls these

    def _admit(self, client: Client, address: Any) -> None:
        """Take a new TCP connection in, unless there are too many."""
        ip, limits = _ip(address), self.limits
        if self._proxy_protocol and ip not in self._proxies:  # defence: proxy-header-peers
            self._warn("%s refused; to let it in, pass trusted_proxies=[...]", ip or "unix")
            client.close()
            return
        refusal, excess = self._excess(ip)
        over = len(self._connections) - limits.max_clients  # defence: client-count
        if over >= 0:
            self._warn("max_clients=%d reached, refusing %s", limits.max_clients, ip)
            refusal = HandshakeError(503, "too many connections")
        if max(over, excess) >= REFUSED_SPARE:
            client.close()
            return
        client.setblocking(False)
        if client.family != getattr(socket, "AF_UNIX", None):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context:
            client = self._context.wrap_socket(  # type: ignore[assignment]
                client, server_side=True, do_handshake_on_connect=False
            )
        client._address = address
        with self._lock:
            connection = self._connect(client, self._loop, limits, self._dropped)  # may raise
            connection.refusal = refusal
            self._connections.add(connection)
            self._addresses[ip] += 1
            self._totals["connections"] += 1

    def _excess(self, ip: str) -> tuple[HandshakeError | None, int]:
        """Return what refuses one more connection from an address, and how far over its bound.

        Of a trusted proxy, only the clients that it tells of are counted against it.
        """
        limit = self.limits.max_clients_per_address
        excess = self._addresses[ip] - limit
        if excess < 0 or not ip or ip in self._proxies:  # defence: address-count
            return None, -1
        self._warn("max_clients_per_address=%d reached by %s", limit, ip)
        return HandshakeError(429, "too many connections from your address"), excess

    def _told(self, connection: Connection, address: Any) -> None:
        """Take an address that a trusted proxy tells for the client's."""
        refusal, excess = self._excess(_ip(address))
        with self._lock:
            self._uncount(_ip(connection.client._address))
            self._addresses[_ip(address)] += 1
            connection.client._address = address
        connection.refusal = connection.refusal or refusal
        if excess >= REFUSED_SPARE:
            connection.drop()

    def _uncount(self, ip: str) -> None:
        self._addresses[ip] -= 1
        if not self._addresses[ip]:
            del self._addresses[ip]

    def _dropped(self, connection: Connection) -> None:
        with self._lock:
            self._connections.discard(connection)  # defence: connection-set
            self._totals.update(_counters(connection))
            self._uncount(_ip(connection.client._address))
        if self._stopping is not None:
            self._loop.schedule(self._stopper, 0)

    # Events, in whatever thread the loop runs them

    def _run(self, connection: Connection, event: Event) -> None:
        """Act on one event of a connection; this is where callbacks are called."""
        kind, payload = event
        try:
            if kind <= BINARY:
                connection.messages_in += 1
                if connection.stage == OPEN:
                    self._onmessage(connection.client, payload)
            elif kind == PING:
                connection.send_control(PONG, payload)
            elif kind == PONG:
                connection.on_pong(payload)
            elif kind == REQUEST:
                self._check(connection, payload)
            elif kind == DECIDE:
                decide = self._onrequest or _ignore
                self._answer(connection, payload, decide(payload))
            elif kind == OPENED:
                self._onopen(connection.client)
            elif kind in (CLOSE, FAIL):
                connection.close(*payload)
                self._finish(connection, *payload)
            elif kind == GONE:
                self._finish(connection, ABNORMAL, connection.reason)
        # a callback's sys.exit() must not end the thread either; defence: raising-callbacks
        except BaseException as error:
            self._raised(connection.client, error)

    def _check(self, connection: Connection, request: Request) -> None:
        """Refuse a request that isn't in order; leave another to onrequest, or answer it."""
        ip, tokens = _ip(connection.client._address), request.headers.tokens
        if ip in self._proxies and not self._proxy_protocol:
            origin = self._proxies.origin(ip, tokens("x-forwarded-for"))
            if origin != ip:
                self._told(connection, (origin, 0))
            for scheme in tokens("x-forwarded-proto")[-1:]:
                request.secure = scheme.lower() in ("https", "wss")
        request.address = connection.client.getpeername()
        try:
            if connection.refusal:
                raise connection.refusal
            if self._hosts is not None:  # defence: hosts
                check_host(request, self._hosts)
            if request.is_upgrade:
                check_upgrade(request, self.origins)
            if self._onrequest is None:
                self._answer(connection, request, None)
        except HandshakeError as error:
            option = {403: "origins", 421: "hosts"}.get(error.response.status)
            if option:
                value = request.headers.get(option[:-1])
                # defence: log-escape
                self._warn(f"{option[:-1]} %a refused; to let it in, pass {option}=[...]", value)
            self._refuse(connection, request, error.response)

    def _answer(self, connection: Connection, request: Request, response: Response | None) -> None:
        """Do as onrequest said: accept, or send its response."""
        if response is not None and response.status != 101:
            self._refuse(connection, request, response)
        elif not request.is_upgrade:
            self._refuse(connection, request, not_an_upgrade(request).response)
        else:
            client = connection.client
            client.subprotocol = choose_subprotocol(request, self.subprotocols)
            deflate, extension = None, ""
            if self._compression:
                offers = parse_extensions(request.headers.get("sec-websocket-extensions", ""))
                deflate, extension = negotiate(offers, self._compression)
            headers = response.headers if response is not None else {}
            switching = accept(request, client.subprotocol, headers, extension)
            with self._lock:
                self._clients[client] = None
                self._count(None)
            if not connection.open(switching, deflate):  # it is over already
                with self._lock:
                    del self._clients[client]
                    self._count(None)

    def _refuse(self, connection: Connection, request: Request, response: Response) -> None:
        logger.info("%s: %r: %d", connection.client.getpeername(), request, response.status)
        connection.answer(response, request.method)

    def _finish(self, connection: Connection, code: int, reason: str) -> None:
        """The WebSocket is closed: say so, once."""
        client = connection.client
        with self._lock:
            # a second end, as by a cut during a shutdown; defence: ends-once
            if client not in self._clients:
                return
            client.close_code, client.close_reason = code, reason
            self._finishing += 1
            del self._clients[client]  # defence: leaves-clients
            self._count(None)
            for room in self._memberships.pop(client, ()):
                self._leave(client, room)
        try:
            try:
                connection.linger()
            finally:
                self._onclose(client)
        finally:
            with self._lock:
                self._finishing -= 1
            if code == ABNORMAL:
                connection.drop()
            elif self._stopping is not None:
                self._loop.schedule(self._stopper, 0)

    def _raised(self, client: Client, error: BaseException) -> None:
        """Report what a callback raised, and close its client."""
        try:
            logger.error("callback for %s raised", client.getpeername(), exc_info=error)
            connection = client._connection
            if connection.stage < OPEN:  # it was onrequest
                connection.answer(Response(500, "internal error\n"))
            connection.close(INTERNAL_ERROR, "internal error")
            self._onerror(client, error)
        except BaseException:
            with suppress(BaseException):  # there is no memory left to complain with
                logger.exception("onerror raised")

    def _warn(self, message: str, *args: Any) -> None:
        """Log a warning that peers can cause, at most once in a while for each message."""
        now = time.monotonic()
        if now >= self._warned.get(message, 0):  # defence: log-rate
            self._warned[message] = now + WARN_SECONDS
            logger.warning(message, *args)


def _keep_freed_memory(size: int) -> None:
    """Have glibc's malloc keep up to twice *size* bytes, to be used again.

    By default, it gives what a large message used back to the system, and gets it again page by
    page, which takes longer than to echo the message. It learns from the largest block that was
    ever freed (mallopt(3), M_MMAP_THRESHOLD); nobody touches this one, so it takes no memory.
    """
    bytes(min(size, LARGEST_BLOCK))


class _Stopper(Source):
    """Lets the leader go on with a shutdown."""

    def __init__(self, stop: Callable[[float], None]) -> None:
        super().__init__()
        self._stop = stop

    def on_deadline(self, now: float) -> None:
        self._stop(now)


def _interrupted() -> bool:
    """Say whether the caller is a signal handler that interrupted a call, which may hold locks."""
    frame = sys._getframe(1)
    while frame.f_back:
        frame = frame.f_back
        if frame.f_globals.get("__package__") == __package__:
            return frame.f_code.co_name not in ("_exit", "_wait", "run", "__exit__", "main")
    return False


def _listed(option: str | Sequence[str]) -> Sequence[str]:
    return [option] if isinstance(option, str) else option


def _ip(address: Any) -> str:
    """Return the IP address in a peer's address; '' for a Unix socket's."""
    return address[0] if isinstance(address, tuple) else ""


def _counters(connection: Connection) -> dict[str, int]:
    return {name: getattr(connection, name) for name in COUNTERS}


def _ignore(*arguments: Any) -> None:
    """Stand in for a callback."""

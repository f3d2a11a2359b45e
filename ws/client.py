"""WSClient: the other end of a WebSocket, blocking or with callbacks."""

from __future__ import annotations

import socket
import ssl
import sys
from dataclasses import replace
from typing import Any, Callable, Iterable, Iterator, Mapping, Sequence

from .connect import Dialler
from .engine.client import BlockingConnection
from .engine.limits import Limits
from .engine.malloc import keep_freed_memory
from .session import ENDED, NEW, RUNNING, Session
from .signals import interruptible
from .tunnel import parse_proxy
from .wire.deflate import Compression
from .wire.frames import CloseCode, close_payload, mask
from .wire.http11 import Request, is_token
from .wire.message import MaskedMessage, Message, encode, fragments
from .wire.opening import ServerResponse, check_fields, parse_url

CUT_SECONDS = 0.2
"""A server that doesn't answer is cut this long before the end of `shutdown`."""
_OPTIONS = (
    "max_message_size max_fragments max_head_size open_timeout close_timeout max_queue_size "
    "send_timeout ping_interval ping_timeout"
).split()


class ConnectionClosed(Exception):
    """The connection has ended.

    Attributes:
        code: The code of the server's close frame, or 1006 if there was none (RFC 6455 §7.4).
        reason: The reason in it, or what went wrong.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code: int = code
        self.reason: str = reason

    def __str__(self) -> str:
        return f"{self.code} {self.reason}".rstrip()


class WSClient:
    """A WebSocket client (RFC 6455), for programs with threads.

    Without callbacks, messages are taken by `recv`, or by iterating. With callbacks, they run on
    threads of the library, one at a time, and may block. Any thread may call any method. All
    clients of a process share a few threads. A client runs once. After `os.fork`, it belongs to
    the parent.

    Args:
        url: "ws://host:port/path", or "wss://" for TLS. It may have a user's name and password.
        reconnect: Whether to connect again, when the connection ends or can't be made, until
            `close` is called; only with callbacks. The first pause is at most a second, each
            further one up to twice as long, and at most a minute. The answers 401, 403 and 404
            end it. A message that was accepted but not sent is lost, and a warning says so.
        headers: Further header fields of the request.
        origin: The Origin to claim, as browsers do for pages.
        proxy: The URL of a proxy, http:// or socks5://, with a user's name and password if need
            be. True (the default) stands for what HTTP_PROXY, HTTPS_PROXY and NO_PROXY, or the
            system's settings say, and for none to this machine itself. None is no proxy.
        unix: Path of a Unix socket to connect to, whatever the URL's host is.
        sock: A connected socket to use, instead of connecting. The client closes it.
        ssl_context: The context for TLS. By default, the server's certificate is verified.
        subprotocols: Names to offer, the best first (RFC 6455 §1.9).
        compression: True, or a `Compression` with settings, to offer permessage-deflate.
        keep_memory: As for `WSServer`: whether the process keeps freed memory for later messages.
        **limits: These fields of `Limits`, by name: max_message_size, max_fragments,
            max_head_size, open_timeout, close_timeout, max_queue_size, send_timeout,
            ping_interval, ping_timeout.

    Raises:
        TypeError: An option has the wrong type, or there is no such option.
        ValueError: An option has a value that can't work.
    """

    def __init__(
        self,
        url: str,
        *,
        reconnect: bool = False,
        headers: Mapping[str, str] | None = None,
        origin: str | None = None,
        proxy: str | bool | None = True,
        unix: str | None = None,
        sock: socket.socket | None = None,
        ssl_context: ssl.SSLContext | None = None,
        subprotocols: str | Sequence[str] = (),
        compression: bool | Compression = False,
        keep_memory: bool = True,
        **limits: Any,
    ) -> None:
        for name in limits:
            if name not in _OPTIONS:
                raise TypeError(f"WSClient has no option {name!r}")
        if reconnect and sock:
            raise ValueError("reconnect= can't connect sock= again")
        fields = {**(headers or {}), **({} if origin is None else {"Origin": origin})}
        check_fields(fields)
        names = [subprotocols] if isinstance(subprotocols, str) else list(subprotocols)
        if not all(map(is_token, names)):
            raise ValueError(f"subprotocols must be tokens, not {names!r}")
        target = parse_url(url)
        if isinstance(proxy, str):
            parse_proxy(proxy)
        self.url: str = url
        self._name = str(target)  # without a password
        self.limits: Limits = Limits(**limits) if limits else _DEFAULT_LIMITS
        offer = Compression() if compression is True else compression or None
        dialler = Dialler(
            replace(target, unix=unix) if unix else target,
            *(fields, names, offer, ssl_context, proxy, sock, self.limits.max_head_size),
        )
        self._reconnect, self._keep_memory = reconnect, keep_memory
        self._session = Session(dialler, self.limits, reconnect)

    # Callbacks. Each registrar returns the callback, so that it serves as a decorator.

    def onopen(self, callback: Callable[[], Any]) -> Callable[[], Any]:
        """Call ``callback()`` each time when a connection is open."""
        self._session.onopen = self._register(callback)
        return callback

    def onmessage(self, callback: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Call ``callback(message)`` for each message: str for text, bytes for binary."""
        self._session.onmessage = self._register(callback)
        return callback

    def onclose(self, callback: Callable[[], Any]) -> Callable[[], Any]:
        """Call ``callback()`` when a connection has ended: exactly once for each `onopen`.

        `close_code` and `close_reason` tell why it ended.
        """
        self._session.onclose = self._register(callback)
        return callback

    def onerror(self, callback: Callable[[BaseException], Any]) -> Callable[[BaseException], Any]:
        """Call ``callback(exception)`` when another callback has raised, or connecting has failed.

        If a callback raised, the exception is logged, and the connection is being closed with
        1011. Connecting in the background, with *reconnect*, fails with an OSError, TimeoutError
        or HandshakeRefused.
        """
        self._session.onerror = self._register(callback)
        return callback

    def _register(self, callback: Any) -> Any:
        if self._session.state != NEW and self._session.blocking:
            raise RuntimeError("register callbacks before the client is started")
        return callback

    # Life

    def start(self) -> WSClient:
        """Connect, and return the client itself. With *reconnect*, connect in the background.

        Raises:
            HandshakeRefused: The server has answered, but doesn't accept.
            OSError: There is no connection; the error says to which address. `close` was called
                meanwhile, if it is a ConnectionAbortedError.
            RuntimeError: The client was started or closed before: a client runs once.
            TimeoutError: It took more than `open_timeout` seconds.
            ValueError: The environment names a proxy of an unknown kind.
        """
        if self._reconnect and self._session.blocking:
            raise RuntimeError("reconnect= needs callbacks")
        if self._keep_memory:
            keep_freed_memory(8 * self.limits.max_message_size)
        self._session.start()
        return self

    def run(self) -> None:
        """Start, unless it was started already, and wait for the end; Ctrl-C or SIGTERM ends it.

        Signals are handled only in the main thread, and only if the program hasn't installed
        handlers of its own.

        Raises:
            HandshakeRefused: The server has answered, but doesn't accept. With *reconnect*, only
                the answers 401, 403 and 404 count.
            OSError, RuntimeError, TimeoutError: See `start`.
        """
        with interruptible(self.shutdown):
            if self._session.state == NEW:
                self.start()
            while self._session.state == RUNNING:
                # On Windows, an endless wait can't be interrupted.
                self._session.join(0.5 if sys.platform == "win32" else -1)
        if self._session.error is not None:
            raise self._session.error

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> bool:
        """End: send a close frame after all messages, and wait for the server's (RFC 6455 §7.1.2).

        It waits for at most `close_timeout` seconds; then the connection is cut. Inside a callback
        it doesn't wait. A thread that waits in `recv` gets `ConnectionClosed`.

        Args:
            code: 1000, or 3000 to 4999 for codes of your own; see RFC 6455 §7.4.
            reason: At most 123 bytes in UTF-8.

        Returns:
            False if there was no open connection.

        Raises:
            ValueError: The code may not be sent, or the reason is too long.
        """
        close_payload(code, reason)
        closing = self._session.close(code, reason)
        self._session.join(self.limits.close_timeout + CUT_SECONDS)
        return closing

    def shutdown(self, timeout: float = 5.0) -> bool:
        """End, with the code 1001, within *timeout* seconds. Inside a callback it doesn't wait.

        Returns:
            Whether the client has ended, and the server didn't have to be cut.
        """
        self._session.close(CloseCode.GOING_AWAY, "")
        self._session.join(max(0.0, timeout - CUT_SECONDS))
        clean = self._session.state != RUNNING
        if not clean and not self._session.engine.threads.inside():
            self._session.cut()
            self._session.join(CUT_SECONDS)
        return clean

    def __enter__(self) -> WSClient:
        return self.start() if self._session.state == NEW else self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # Messages

    def send(self, message: Message | Iterable[Message], *, compress: bool | None = None) -> bool:
        """Send a message: str as text, bytes-like as binary.

        While the queue is full (`max_queue_size`), it blocks, for at most `send_timeout` seconds
        (for each fragment). If there is still no room, the connection is cut.

        Args:
            message: The message. An iterable of str or of bytes-like objects is sent as one
                message: each item is a fragment, sent as soon as the iterable yields it (RFC 6455
                §5.4). If the iterable raises after a fragment was sent, the connection is closed
                with 1011.
            compress: Whether to compress the message, if the server has accepted compression. With
                None, `Compression.threshold` decides. Fragments are never compressed.

        Returns:
            Whether the message was accepted for sending. False if there is no open connection.

        Raises:
            TypeError: The message has another type.
            UnicodeEncodeError: A str has a lone surrogate.
        """
        connection = self._session.connection
        if connection is None:
            return False
        outbox, timeout = connection.outbox, self.limits.send_timeout
        if not isinstance(message, (str, bytes, bytearray, memoryview)):
            return connection.put_fragments(map(mask, fragments(message)), timeout)
        if outbox.deflate is None:
            return outbox.put(mask(encode(message)), timeout, 1, True)
        return outbox.put_prepared(MaskedMessage(encode(message), compress), timeout, True)

    def recv(self, timeout: float | None = None) -> Any:
        """Return the next message: str for text, bytes for binary.

        Messages wait in TCP, and up to 16 of them here, until this is called.

        Args:
            timeout: Seconds to wait for it. With None, until the connection ends, which it does
                at the latest when the server doesn't answer a ping in time.

        Raises:
            ConnectionClosed: The connection has ended.
            RuntimeError: The client has callbacks, or wasn't started.
            TimeoutError: No message has come in time.
        """
        connection = self._session.connection
        if not isinstance(connection, BlockingConnection):
            raise RuntimeError(
                "start the client before recv"
                if connection is None
                else "a client with callbacks gets its messages by onmessage"
            )
        message = connection.receive(timeout)
        if message is None:
            raise ConnectionClosed(self.close_code or CloseCode.ABNORMAL, self.close_reason)
        return message

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the messages, until the connection ends.

        Raises:
            ConnectionClosed: It ended otherwise than with the codes 1000, 1001 or 1005.
        """
        try:
            while True:
                yield self.recv()
        except ConnectionClosed as closed:
            if closed.code not in (CloseCode.NORMAL, CloseCode.GOING_AWAY, CloseCode.NO_STATUS):
                raise

    def ping(self) -> bool:
        """Send a ping, whose pong sets `latency`. Never blocks.

        Returns:
            False if no ping was sent: there is no open connection, or over 64 KiB are queued.
        """
        connection = self._session.connection
        return connection is not None and connection.ping()

    # The current connection, or the last one

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        connection = self._session.connection
        return connection is not None and connection.outbox.accepting

    @property
    def request(self) -> Request | None:
        """The request that opened it."""
        return getattr(self._session.client, "request", None)

    @property
    def response(self) -> ServerResponse | None:
        """The server's answer to it."""
        return self._session.response

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that was agreed on, if any."""
        return self._session.client.subprotocol

    @property
    def latency(self) -> float | None:
        """Seconds from the last ping to its pong. None before the first pong."""
        return self._session.client.latency

    @property
    def close_code(self) -> int | None:
        """The code with which it ended, as `ConnectionClosed.code`. None before that."""
        return self._session.client.close_code

    @property
    def close_reason(self) -> str:
        """The reason in the server's close frame, or what went wrong."""
        return self._session.client.close_reason

    @property
    def unsent(self) -> int:
        """Bytes that were accepted, but not sent when the last connection ended: they are lost."""
        return self._session.unsent

    def __repr__(self) -> str:
        state = {NEW: "new", RUNNING: "open" if self.is_open else "connecting", ENDED: "ended"}
        return f"<WSClient {self._name} ({state[self._session.state]})>"


_DEFAULT_LIMITS = Limits()

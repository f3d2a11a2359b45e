"""An end of ours, connected with a foreign program. Both kinds have the same methods."""

from __future__ import annotations

import queue

from tests.interop.processes import ForeignServer
from tests.support import certificates
from tests.support.processes import StartError
from tests.support.tcpproxy import TCPProxy
from tests.support.waiting import DEADLINE
from ws import ConnectionClosed, WSClient, WSServer

SETTLE_SECONDS = 5.0
"""How long a foreign program may take to see that a connection has ended, after a check."""


class Link:
    """What both kinds have; `peer` is the foreign program, `_client` the client of the two."""

    @property
    def latency(self):
        return self._client.latency

    @property
    def subprotocol(self):
        return self._client.subprotocol

    def settle(self):
        """Let the program see the end of the connection, so that it is ready for the next one."""
        if self.peer.runs and not self.peer.idle and "close_by_us" not in self.peer.row.cannot:
            try:
                self.peer.closed(SETTLE_SECONDS)
            except (AssertionError, StartError):
                pass  # it is started anew


class ServerLink(Link):
    """Our server, with a foreign client.

    Args:
        peer: The client's process.
        certificate: For TLS.
        reconnect: Nothing: the client connects whenever it is told to.
        **options: Those of `WSServer`.
    """

    def __init__(self, peer, certificate=None, reconnect=False, **options):
        self.peer = peer
        self._options = {"subprotocols": ["interop"], **options}
        if certificate:
            self._options.update(certificate.options)

    def open(self, port=0):
        """Start the server, and let the program connect."""
        self._opened, self._messages, self._closed = queue.Queue(), queue.Queue(), queue.Queue()
        self._server = WSServer("127.0.0.1", port, **self._options)
        self._server.onopen(self._opened.put)
        self._server.onmessage(lambda client, message: self._messages.put(message))
        self._server.onclose(self._close)
        self._server.start()
        self.peer.connect(self._server.url)
        try:
            self._client = self._opened.get(timeout=DEADLINE)
        except queue.Empty:
            raise AssertionError(f"no connection: {self.peer.last_words()}") from None

    def _close(self, client):
        self._closed.put((client.close_code, client.close_reason))
        self._messages.put(ConnectionClosed(client.close_code, client.close_reason))

    def send(self, message):
        assert self._server.send(self._client, message)

    def receive(self):
        """Return the next message, or the ConnectionClosed that came instead."""
        return self._messages.get(timeout=DEADLINE)

    def ping(self):
        assert self._server.ping(self._client)

    def bytes_in(self):
        return self._server.stats()["bytes_in"]

    def bytes_out(self):
        return self._server.stats()["bytes_out"]

    def close(self, code, reason):
        self._server.close(self._client, code, reason)

    def closed(self):
        """Return the code and the reason with which the program has closed."""
        return self._closed.get(timeout=DEADLINE)

    def shutdown(self):
        """End the server; return the code that the program saw."""
        assert self._server.shutdown()
        return self.peer.closed()[0]

    def restart(self):
        """End the server, start another one on the same port, and let the program connect."""
        port = self._server.port
        self.shutdown()
        self.open(port)

    def end(self):
        self._server.shutdown(SETTLE_SECONDS)
        self.settle()


class ClientLink(Link):
    """Our client, with a foreign server.

    Args:
        peer: The server's process, which is started if it has ended.
        certificate: For TLS, with a process of its own.
        reconnect: Whether the client connects again by itself; then it has callbacks.
        **options: Those of `WSClient`.
    """

    def __init__(self, peer, certificate=None, reconnect=False, **options):
        self._own = certificate and ForeignServer(peer.row, certificate, ca=peer.ca)
        self.peer = self._own or peer
        if not self.peer.runs or not self.peer.idle:
            self.peer.close()
            self.peer.start()
        self._counter = TCPProxy(self.peer.port) if "compression" in options else None
        url = self.peer.url
        if self._counter:
            url = url.replace(str(self.peer.port), str(self._counter.port))
        if certificate:
            options["ssl_context"] = certificates.trusting_context()
        names = ["other", "interop"]
        self._client = WSClient(url, subprotocols=names, proxy=None, reconnect=reconnect, **options)
        self._messages = queue.Queue() if reconnect else None
        if reconnect:
            self._opened = queue.Queue()
            self._client.onopen(lambda: self._opened.put(None))
            self._client.onmessage(self._messages.put)

    def open(self):
        """Connect."""
        self._client.start()
        if self._messages:
            self._opened.get(timeout=DEADLINE)
        self.peer.idle = False

    def send(self, message):
        assert self._client.send(message)

    def receive(self):
        """Return the next message."""
        if self._messages:
            return self._messages.get(timeout=DEADLINE)
        return self._client.recv(DEADLINE)

    def ping(self):
        assert self._client.ping()

    def bytes_in(self):
        return self._counter.to_clients

    def bytes_out(self):
        return self._counter.to_server

    def close(self, code, reason):
        assert self._client.close(code, reason)

    def closed(self):
        """Return the code and the reason with which the program has closed."""
        try:
            message = self._client.recv(DEADLINE)
        except ConnectionClosed as closed:
            return closed.code, closed.reason
        raise AssertionError(f"a message, not a close: {message!r}")

    def shutdown(self):
        """End the server; return the code that our client saw."""
        self.peer.process.terminate()
        try:
            return self.closed()[0]
        finally:
            self.peer.kill()

    def restart(self):
        """Kill the server, and start it on the same port; the client connects by itself."""
        self.peer.kill()
        self.peer.start()
        self._opened.get(timeout=DEADLINE)
        self.peer.idle = False

    def end(self):
        self._client.close()
        self.settle()
        for each in (self._counter, self._own):
            if each:
                each.close()

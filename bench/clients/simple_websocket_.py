"""simple-websocket."""

from __future__ import annotations

from simple_websocket import Client

from bench.clients import blocking
from bench.clients.options import Options


class WithPort(Client):
    """Names the port in the field Host, too, without which the Autobahn suite refuses it."""

    def handshake(self) -> None:
        self.host: str = f"{self.host}:{self.port}"
        super().handshake()


def run(options: Options) -> None:
    def connect(url: str) -> blocking.Connection:
        client = WithPort.connect(url, max_message_size=options.max_message_size)
        return blocking.Connection(client.send, client.receive, client.close)

    blocking.run(options, connect)

"""websockets, in threads."""

from __future__ import annotations

import threading
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as listen

from bench.peers.options import Options


def serve(options: Options) -> None:
    clients: set[ServerConnection] = set()
    lock = threading.Lock()

    def echo(client: ServerConnection) -> None:
        for message in client:
            client.send(options.reply(message))

    def broadcast(client: ServerConnection) -> None:
        with lock:
            clients.add(client)
        try:
            for message in client:
                with lock:
                    everybody = list(clients)
                for other in everybody:
                    try:
                        other.send(message)
                    except ConnectionClosed:
                        pass
        finally:
            with lock:
                clients.discard(client)

    settings: dict[str, Any] = {} if options.ping else {"ping_interval": None}
    with listen(
        broadcast if options.broadcast else echo,
        "127.0.0.1",
        options.port,
        ssl=options.context,
        compression="deflate" if options.compress else None,
        max_size=options.max_message_size,
        **settings,
    ) as server:
        options.ready(server.socket.getsockname()[1])
        server.serve_forever()

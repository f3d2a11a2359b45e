"""simple-websocket, on werkzeug, the threaded WSGI server that Flask uses for development."""

from __future__ import annotations

import logging
import threading
from typing import Any, NoReturn

from simple_websocket import ConnectionClosed, Server
from werkzeug.serving import WSGIRequestHandler, make_server

from bench.peers.options import Options


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.0"
    """Closes the connection after a WebSocket instead of waiting for another request."""


def serve(options: Options) -> None:
    clients: set[Server] = set()
    lock = threading.Lock()

    def app(environ: dict[str, Any], start_response: Any) -> NoReturn:
        if not options.compress:
            environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)  # it has no option for that
        client = Server.accept(environ, max_message_size=options.max_message_size)
        with lock:
            clients.add(client)
        try:
            while True:
                message = client.receive()
                if not options.broadcast:
                    client.send(options.reply(message))
                    continue
                with lock:
                    everybody = list(clients)
                for other in everybody:
                    try:
                        other.send(message)
                    except (ConnectionClosed, OSError):
                        pass
        except (ConnectionClosed, OSError):
            pass
        finally:
            with lock:
                clients.discard(client)
        raise ConnectionError("over")  # werkzeug has no response to send then

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server(
        "127.0.0.1",
        options.port,
        app,
        threaded=True,
        request_handler=Handler,
        ssl_context=options.context,
    )
    options.ready(server.server_port)
    server.serve_forever()

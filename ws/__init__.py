"""A strict, compact, threaded WebSocket server and client without dependencies.

Callbacks may block.

from ws import WSServer

server = WSServer(port=8000)

@server.onmessage
def echo(client, message):
    server.send(client, message)

server.run()
"""

from .auth import basic_auth
from .client import ConnectionClosed, WSClient
from .engine.limits import Limits
from .engine.sockets import Client
from .server import WSServer
from .wire.deflate import Compression
from .wire.http11 import Headers, Request, Response
from .wire.opening import HandshakeRefused, ServerResponse

__all__ = [
    "Client",
    "Compression",
    "ConnectionClosed",
    "HandshakeRefused",
    "Headers",
    "Limits",
    "Request",
    "Response",
    "ServerResponse",
    "WSClient",
    "WSServer",
    "basic_auth",
]
__version__ = "0.1.0"

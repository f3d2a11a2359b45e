"""A strict, compact, threaded WebSocket server without dependencies, whose callbacks may block.

from ws import WSServer

server = WSServer(port=8000)

@server.onmessage
def echo(client, message):
    server.send(client, message)

server.run()
"""

from .auth import basic_auth
from .engine.limits import Limits
from .engine.sockets import Client
from .server import WSServer
from .wire.deflate import Compression
from .wire.http11 import Headers, Request, Response

__all__ = [
    "Client",
    "Compression",
    "Headers",
    "Limits",
    "Request",
    "Response",
    "WSServer",
    "basic_auth",
]
__version__ = "0.1.0"

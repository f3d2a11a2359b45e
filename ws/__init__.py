"""A strict, compact, threaded WebSocket server: callbacks may block, nothing to install.

from ws import WSServer

server = WSServer(port=8000)

@server.onmessage
def echo(client, message):
    server.send(client, message)

server.run()
"""

from .client import Client
from .deflate import Compression
from .handshake import Headers, Request, Response, basic_auth
from .limits import Limits
from .server import WSServer

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

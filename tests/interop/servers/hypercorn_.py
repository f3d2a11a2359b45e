"""hypercorn."""

import asyncio
import sys

from hypercorn.asyncio import serve
from hypercorn.config import Config

from tests.interop.servers.asgi import app

port, cert, key = [*sys.argv[1:], None, None][:3]
config = Config()
config.bind = [f"127.0.0.1:{port}"]
config.certfile, config.keyfile = cert, key
asyncio.run(serve(app, config))

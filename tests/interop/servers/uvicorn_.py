"""uvicorn."""

import sys

import uvicorn

from tests.interop.servers.asgi import app

port, cert, key = [*sys.argv[1:], None, None][:3]
tls = {"ssl_certfile": cert, "ssl_keyfile": key}
uvicorn.run(app, port=int(port), lifespan="off", log_level="warning", **tls)

"""Logging: what a callback raises, and which requests are refused."""

import logging

from ws import Client, WSServer

logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
logging.getLogger("ws").setLevel(logging.INFO)

server = WSServer(port=8000)


@server.onmessage
def divide(client: Client, message: str) -> None:
    server.send(client, str(1 / int(message)))


@server.onerror
def report(client: Client, exception: BaseException) -> None:
    logging.warning("a message of %s raised %r", client.getpeername(), exception)


server.run()

"""Each client gets back what it sends."""

from ws import Client, WSServer

server = WSServer(port=8000)


@server.onmessage
def echo(client: Client, message: str) -> None:
    server.send(client, message)


server.run()

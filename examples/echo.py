"""Echo: each message goes back to its client."""

from ws import Client, WSServer

server = WSServer(port=8000)


@server.onmessage
def echo(client: Client, message: str) -> None:
    server.send(client, message)


server.run()

"""Rooms: a client that connects to /kitchen gets what others send in the kitchen."""

from ws import Client, WSServer

server = WSServer(port=8000)


@server.onopen
def enter(client: Client) -> None:
    server.join(client, client.request.path)


@server.onmessage
def say(client: Client, message: str) -> None:
    server.sendall(message, to=client.request.path, exclude=client)


server.run()

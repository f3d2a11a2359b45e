"""Behind a reverse proxy on this machine, which reports the client's address."""

from ws import Client, WSServer

server = WSServer("127.0.0.1", port=8000, trusted_proxies=["127.0.0.1"])


@server.onopen
def greet(client: Client) -> None:
    server.send(client, f"You come from {client.getpeername()[0]}.")


server.onmessage(server.send)
server.run()

"""Many servers as one: start this several times. A message reaches the clients of every process."""

from ws import Client, WSServer
from ws.redis import RedisBackplane

server = WSServer(port=8000, reuse_port=True, backplane=RedisBackplane("redis://localhost"))


@server.onmessage
def say(client: Client, message: str) -> None:
    server.sendall(message)


server.run()

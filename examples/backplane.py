"""Many servers as one: start this several times; what one client says reaches those of all."""

from ws import Client, WSServer
from ws.redis import RedisBackplane

server = WSServer(port=8000, reuse_port=True, backplane=RedisBackplane("redis://localhost"))


@server.onmessage
def say(client: Client, message: str) -> None:
    server.sendall(message)


server.run()

"""The server: it echoes, and sends a message that begins with "room:" to all in the room.

`python -m tests.soak.server FOLDER`, with cert.pem and key.pem in it, prints its ports, plain and
TLS. At the next line of its standard input it shuts down, and says whether each onopen had its
onclose.
"""

from __future__ import annotations

import collections
import sys
import threading
import time

from ws import WSServer


def main(folder):
    common = {
        "compression": True,
        "max_queue_size": 1 << 18,
        "send_timeout": 5.0,
        "close_timeout": 2.0,
        "ping_interval": 5.0,
    }
    cert = {"cert": f"{folder}/cert.pem", "key": f"{folder}/key.pem"}
    servers = [WSServer("127.0.0.1", 0, **common), WSServer("127.0.0.1", 0, **cert, **common)]
    opened, closed = collections.Counter(), collections.Counter()
    lock = threading.Lock()

    def prepare(server):
        @server.onopen
        def onopen(client):
            with lock:
                opened[server] += 1
            server.join(client, client.request.path)

        @server.onmessage
        def onmessage(client, message):
            if message[:5] == "block":
                time.sleep(0.02)
            if message[:5] == "room:":
                server.sendall(message, to=client.request.path)
            else:
                server.send(client, message)

        @server.onclose
        def onclose(client):
            with lock:
                closed[server] += 1 + 1000 * ("closed" in client.data)
            client.data["closed"] = True

    for server in servers:
        prepare(server)
        server.start()
    print(*[server.port for server in servers], flush=True)
    sys.stdin.readline()
    for server in servers:
        server.shutdown()
    print("onclose as often as onopen:", closed == opened, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

"""Socket activation: systemd listens, and passes its socket on. A restart refuses no connection."""

import os
import socket

from ws import WSServer

if os.environ.get("LISTEN_PID") == str(os.getpid()):
    server = WSServer(sock=socket.socket(fileno=3))  # the first of LISTEN_FDS
else:
    server = WSServer(port=8000)

server.onmessage(server.send)
server.run()

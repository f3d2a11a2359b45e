"""Push from another thread: all clients get the time, every second."""

import threading
import time

from ws import WSServer

server = WSServer(port=8000)


def clock() -> None:
    while True:
        server.sendall(time.strftime("%X"))
        time.sleep(1)


threading.Thread(target=clock, daemon=True).start()
server.run()

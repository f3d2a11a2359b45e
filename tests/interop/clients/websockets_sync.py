"""websockets, in threads."""

import json
import ssl
import sys

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

trust = ssl.create_default_context(cafile=sys.argv[1])


def say(**what):
    print(json.dumps(what), flush=True)


def talk(url):
    context = trust if url.startswith("wss") else None
    with connect(url, ssl=context, subprotocols=["other", "interop"], proxy=None) as socket:
        say(open=socket.subprotocol)
        try:
            for message in socket:
                if message == "/fragments":
                    socket.send(["one, ", "two, ", "three"])
                elif message == "/ping":
                    socket.ping().wait()
                    socket.send("pong")
                elif message == "/close":
                    socket.close(4001, "over")
                else:
                    socket.send(message)
        except ConnectionClosed:
            pass
        say(closed=socket.close_code, reason=socket.close_reason)


for line in sys.stdin:
    talk(line.strip())

"""websockets, on asyncio."""

import asyncio
import json
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

trust = ssl.create_default_context(cafile=sys.argv[1])


def say(**what):
    print(json.dumps(what), flush=True)


async def talk(url):
    context = trust if url.startswith("wss") else None
    offer = {"ssl": context, "subprotocols": ["other", "interop"], "proxy": None}
    async with connect(url, **offer) as socket:
        say(open=socket.subprotocol)
        try:
            async for message in socket:
                if message == "/fragments":
                    await socket.send(["one, ", "two, ", "three"])
                elif message == "/ping":
                    await (await socket.ping())
                    await socket.send("pong")
                elif message == "/close":
                    await socket.close(4001, "over")
                else:
                    await socket.send(message)
        except ConnectionClosed:
            pass
        say(closed=socket.close_code, reason=socket.close_reason)


for line in sys.stdin:
    asyncio.run(talk(line.strip()))

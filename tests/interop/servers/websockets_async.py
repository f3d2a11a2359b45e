"""websockets, on asyncio."""

import asyncio
import json
import signal
import ssl
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


def say(**what):
    print(json.dumps(what), flush=True)


async def talk(socket):
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


async def main(port, *pair):
    context = None
    if pair:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*pair)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with serve(talk, "127.0.0.1", int(port), ssl=context, subprotocols=["interop"]):
        await stop.wait()


asyncio.run(main(*sys.argv[1:]))

"""aiohttp."""

import asyncio
import json
import ssl
import sys

from aiohttp import ClientSession, WSMsgType

trust = ssl.create_default_context(cafile=sys.argv[1])


def say(**what):
    print(json.dumps(what), flush=True)


async def talk(session, url):
    offer = {"ssl": trust, "protocols": ["other", "interop"], "compress": 15, "autoping": False}
    async with session.ws_connect(url, **offer) as socket:
        say(open=socket.protocol)
        reason = ""
        while True:
            message = await socket.receive()
            if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR):
                reason = message.extra or ""
                break
            if message.type == WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type == WSMsgType.PONG:
                await socket.send_str("pong")
            elif message.data == "/ping":
                await socket.ping()
            elif message.data == "/close":
                await socket.close(code=4001, message=b"over")
            elif message.type == WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type == WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        say(closed=socket.close_code, reason=reason)


async def main():
    async with ClientSession() as session:
        for line in sys.stdin:
            await talk(session, line.strip())


asyncio.run(main())

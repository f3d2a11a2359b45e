"""aiohttp."""

import json
import ssl
import sys
import weakref

from aiohttp import WSCloseCode, WSMsgType, web

sockets = weakref.WeakSet()


def say(**what):
    print(json.dumps(what), flush=True)


async def talk(request):
    socket = web.WebSocketResponse(protocols=["interop"], autoping=False)
    await socket.prepare(request)
    sockets.add(socket)
    say(open=socket.ws_protocol)
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
    return socket


async def leave(app):
    for socket in set(sockets):
        await socket.close(code=WSCloseCode.GOING_AWAY)


context = None
if sys.argv[2:]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*sys.argv[2:])
app = web.Application()
app.router.add_get("/", talk)
app.on_shutdown.append(leave)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), ssl_context=context, print=None)

"""aiohttp."""

from __future__ import annotations

import asyncio

from aiohttp import WSMsgType, web

from bench.peers.options import Options


def serve(options: Options) -> None:
    options.run(_serve(options))


async def _serve(options: Options) -> None:
    clients: set[web.WebSocketResponse] = set()

    async def handle(request: web.Request) -> web.WebSocketResponse:
        client = web.WebSocketResponse(
            max_msg_size=options.max_message_size, compress=options.compress
        )
        await client.prepare(request)
        clients.add(client)
        try:
            async for message in client:
                text = message.type == WSMsgType.TEXT
                reply = await options.reply_async(message.data)
                for receiver in list(clients) if options.broadcast else (client,):
                    try:
                        await (receiver.send_str if text else receiver.send_bytes)(reply)
                    except ConnectionError:
                        pass
        finally:
            clients.discard(client)
        return client

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", options.port, ssl_context=options.context).start()
    options.ready(runner.addresses[0][1])
    await asyncio.Event().wait()

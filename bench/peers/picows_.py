"""picows, by its own API, which delivers frames."""

from __future__ import annotations

import asyncio

from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)

from bench.peers.options import Options


def serve(options: Options) -> None:
    options.run(_serve(options))


class Echo(WSListener):
    """One client. Joins fragments to messages, which picows leaves to the listener."""

    options: Options
    clients: set[WSTransport]

    def __init__(self) -> None:
        self.kind = WSMsgType.BINARY
        self.fragments: list[bytes] = []

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.clients.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.clients.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind in (WSMsgType.TEXT, WSMsgType.BINARY) and frame.fin:
            self.on_message(transport, kind, frame.get_payload_as_bytes())
        elif kind == WSMsgType.CLOSE:
            code = frame.get_close_code()
            transport.send_close(
                WSCloseCode.OK if code == WSCloseCode.NO_INFO else code, frame.get_close_message()
            )
            transport.disconnect()
        elif kind in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            if kind != WSMsgType.CONTINUATION:
                self.kind = kind
            self.fragments.append(frame.get_payload_as_bytes())
            if frame.fin:
                message, self.fragments = b"".join(self.fragments), []
                self.on_message(transport, self.kind, message)

    def on_message(self, transport: WSTransport, kind: WSMsgType, message: bytes) -> None:
        transport.send(kind, message)


class Broadcast(Echo):
    def on_message(self, transport: WSTransport, kind: WSMsgType, message: bytes) -> None:
        for client in self.clients:
            client.send(kind, message)


class Verbs(Echo):
    def on_message(self, transport: WSTransport, kind: WSMsgType, message: bytes) -> None:
        if kind == WSMsgType.TEXT:
            asyncio.create_task(self.reply(transport, message.decode()))  # noqa: RUF006
        else:
            transport.send(kind, message)

    async def reply(self, transport: WSTransport, message: str) -> None:
        reply = await self.options.reply_async(message)
        transport.send(WSMsgType.TEXT, str(reply).encode())


async def _serve(options: Options) -> None:
    listener = {"echo": Echo, "broadcast": Broadcast, "verbs": Verbs}[options.mode]
    listener.options, listener.clients = options, set()

    def make(request: WSUpgradeRequest) -> Echo:
        return listener()

    server = await ws_create_server(
        make,
        "127.0.0.1",
        options.port,
        ssl=options.context,
        max_frame_size=options.max_message_size,
    )
    options.ready(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()

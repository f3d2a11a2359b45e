"""picows, by its own API, which delivers frames."""

from __future__ import annotations

import asyncio
from typing import Any

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from bench.clients.callbacks import Conversation
from bench.clients.coroutines import hold
from bench.clients.options import Options


class Talker(WSListener):
    """One connection. Joins fragments to messages, which picows leaves to the listener."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.kind = WSMsgType.BINARY
        self.fragments: list[bytes] = []
        self.answered = asyncio.Event()

    def on_ws_connected(self, transport: WSTransport) -> None:
        def send(message: str | bytes) -> None:
            if isinstance(message, str):
                transport.send(WSMsgType.TEXT, message.encode())
            else:
                transport.send(WSMsgType.BINARY, message)

        conversation = Conversation(self.options, send, self.answered.set)
        self.onmessage = conversation.onmessage
        conversation.begin()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == WSMsgType.TEXT and frame.fin:
            self.onmessage(frame.get_payload_as_utf8_text())
        elif kind == WSMsgType.BINARY and frame.fin:
            self.onmessage(frame.get_payload_as_bytes())
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
                self.onmessage(message.decode() if self.kind == WSMsgType.TEXT else message)


def run(options: Options) -> None:
    options.run(_run(options))


async def _run(options: Options) -> None:
    async def connect(url: str) -> Any:
        return await ws_connect(
            lambda: Talker(options), url, max_frame_size=options.max_message_size
        )

    async def answered() -> Any:
        transport, talker = await connect(options.url)
        await talker.answered.wait()
        return transport

    if options.agent:
        for url in options.case_urls:
            try:
                transport, _ = await connect(url)
                await transport.wait_disconnected()
            except Exception as error:
                print(f"{url}: {error!r}", flush=True)
    elif options.load == "hold":
        await hold(answered)
    else:
        while options.load == "connect":
            transport, _ = await connect(options.url)
            transport.send_close(WSCloseCode.OK)
            await transport.wait_disconnected()
        transport, _ = await connect(options.url)
        await transport.wait_disconnected()

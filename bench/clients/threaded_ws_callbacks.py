"""Ours, with callbacks."""

from __future__ import annotations

import threading
from typing import Any

from bench.clients.callbacks import Conversation
from bench.clients.options import Options, hold
from bench.clients.threaded_ws import settings
from bench.peers.threaded_ws import use_extras


def run(options: Options) -> None:
    use_extras(False)
    from ws import WSClient  # noqa: PLC0415

    def talk(url: str) -> tuple[WSClient, threading.Event]:
        client, answered = WSClient(url, **settings(options)), threading.Event()
        conversation = Conversation(options, client.send, answered.set)
        client.onopen(conversation.begin)
        client.onmessage(conversation.onmessage)
        return client, answered

    def connect() -> Any:
        client, answered = talk(options.url)
        client.start()
        answered.wait()
        return client

    if options.agent:
        for url in options.case_urls:
            talk(url)[0].run()
    elif options.load == "hold":
        hold(connect)
    else:
        while options.load == "connect":
            talk(options.url)[0].start().close()
        talk(options.url)[0].run()

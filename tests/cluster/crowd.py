"""Thousands of clients that behave as the page does, and count what they hear."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import Any, Callable

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from tests.support.chatclient import SUBPROTOCOL, hello

AT_ONCE = 100
"""The most connections that are opened at the same time."""
LONGEST_WAIT = 1.0
"""Seconds before a client that was cut comes back; half of it left to chance."""


class Client:
    """One person: comes back when it is cut, and says again what wasn't acknowledged."""

    def __init__(self, crowd: Crowd, number: int, room: str) -> None:
        self.crowd, self.number, self.room = crowd, number, room
        # As if each came through another proxy: one address may not have so many clients.
        self.address = f"10.0.{number >> 8}.{number & 255}"
        self.socket: ClientConnection | None = None
        self.history, self.seen = "", 0
        self.heard: dict[str, int] = {}  # the number of each message, by its id
        self.outbox: dict[str, str] = {}
        self.faults: list[str] = []
        self.cuts = 0

    async def live(self) -> None:
        while True:
            try:
                async with self.crowd.door:
                    socket = await connect(
                        self.crowd.url,
                        subprotocols=[Subprotocol(SUBPROTOCOL)],
                        additional_headers={"X-Forwarded-For": self.address},
                        compression=None,
                        open_timeout=60,
                        ping_interval=None,
                        max_size=None,
                        proxy=None,
                    )
                    await self.enter(socket)
                async for message in socket:
                    await self.receive(json.loads(message))
            except (OSError, WebSocketException, TimeoutError):
                self.cuts += 1
            self.socket = None
            await asyncio.sleep(LONGEST_WAIT * random.uniform(0.5, 1))

    async def enter(self, socket: ClientConnection) -> None:
        name, key = f"P{self.number}", f"key {self.number}"
        mine = {**hello(name, self.room, key, self.history, self.seen), "id": "hello"}
        while not self.socket:
            await socket.send(json.dumps(mine))
            event: dict[str, Any] = {}
            while event.get("type") != "welcome":
                event = json.loads(await socket.recv())
                if event["type"] == "error":  # Redis is unavailable
                    await asyncio.sleep(event["retry"])
                    break
            else:
                self.socket = socket
        if self.history and not event["resumed"]:
            self.faults.append("has lost its place in the history")
        self.history = event["history"]
        for message in event["messages"]:
            self.hear(message)
        for name in list(self.outbox):
            await self.send(name)

    async def receive(self, event: dict[str, Any]) -> None:
        if event["type"] == "message":
            self.hear(event)
        elif event["type"] == "error":
            again = self.send(event["id"])
            asyncio.get_running_loop().call_later(event["retry"], self.crowd.spawn, again)

    def hear(self, message: dict[str, Any]) -> None:
        name, seq = message["id"], message["seq"]
        acknowledged = self.outbox.pop(name, None) is not None
        if name in self.heard:
            if not (acknowledged or self.is_mine(name)):
                self.faults.append(f"heard {name} twice")
            return
        if seq <= self.seen:
            self.faults.append(f"heard {name}, {seq}, after {self.seen}")
        self.heard[name] = self.seen = seq
        self.crowd.delays.append(time.time() - float(message["text"]))

    def is_mine(self, name: str) -> bool:
        return name.startswith(f"{self.number}-")

    async def say(self, name: str) -> None:
        self.outbox[name] = str(time.time())
        self.crowd.said.setdefault(self.room, []).append(name)
        await self.send(name)

    async def send(self, name: str) -> None:
        if self.socket and name in self.outbox:
            event = {"type": "say", "id": name, "text": self.outbox[name]}
            try:
                await self.socket.send(json.dumps(event))
            except WebSocketException:
                pass  # it is sent again after the reconnect


class Crowd:
    """Clients in rooms, one of each room a talker."""

    def __init__(self, url: str, clients: int, rooms: int) -> None:
        self.url, self.door = url, asyncio.Semaphore(AT_ONCE)
        self.clients = [Client(self, n, f"room {n % rooms}") for n in range(clients)]
        self.talkers = self.clients[:rooms]
        self.said: dict[str, list[str]] = {}
        self.delays: list[float] = []
        self.tasks: set[asyncio.Task[None]] = set()
        for client in self.clients:
            self.spawn(client.live())

    def spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def talk(self, messages: int, seconds: float) -> None:
        """Have each talker say some messages, spread over some seconds."""

        async def talk(client: Client) -> None:
            await asyncio.sleep(random.uniform(0, seconds / messages))
            for _ in range(messages):
                await client.say(f"{client.number}-{len(self.said.get(client.room, ()))}")
                await asyncio.sleep(seconds / messages)

        await asyncio.gather(*map(talk, self.talkers))

    async def until(self, condition: Callable[[], bool], what: str, seconds: float = 120) -> float:
        """Wait; return the seconds that it took."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > seconds:
                raise TimeoutError(f"{what}: not in {seconds:g} s; {self.summary()}")
            await asyncio.sleep(0.05)
        return time.monotonic() - began

    def all_here(self) -> bool:
        return all(client.socket for client in self.clients)

    def all_heard(self) -> bool:
        return all(len(c.heard) >= len(self.said.get(c.room, ())) for c in self.clients)

    def faults(self) -> list[str]:
        """Return what is wrong: everyone must have heard all that was said in the room, once."""
        order = {client.room: list(client.heard) for client in self.clients}
        faults = [f"{c.number}: {fault}" for c in self.clients for fault in c.faults]
        for client in self.clients:
            if list(client.heard) != order[client.room]:
                faults.append(f"{client.number}: heard another order than others in {client.room}")
            if set(client.heard) != set(self.said.get(client.room, ())):
                faults.append(f"{client.number}: heard something else than was said")
        return faults

    def summary(self) -> str:
        here = sum(client.socket is not None for client in self.clients)
        heard = sum(len(client.heard) for client in self.clients)
        due = sum(len(self.said.get(client.room, ())) for client in self.clients)
        cuts = sum(client.cuts for client in self.clients)
        return f"{here} of {len(self.clients)} clients here, {heard} of {due} heard, {cuts} cuts"

    def end(self) -> None:
        for task in list(self.tasks):
            task.cancel()
        for client in self.clients:
            if client.socket:
                client.socket.transport.abort()

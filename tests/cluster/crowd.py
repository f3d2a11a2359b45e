"""Thousands of clients that behave as the page does, and count what they hear."""

from __future__ import annotations

import json
import random
import sched
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

from tests.support.chatclient import SUBPROTOCOL, hello
from ws import HandshakeRefused, WSClient

OPEN_SECONDS = 60.0
"""How long a connection may take, while all the others come as well."""
ENDING_AT_ONCE = 100


class Client:
    """One person: comes back when it is cut, and says again what wasn't acknowledged."""

    def __init__(self, crowd: Crowd, number: int, room: str) -> None:
        self.crowd, self.number, self.room = crowd, number, room
        self.here = False
        self.history, self.seen = "", 0
        self.heard: dict[str, int] = {}  # the number of each message, by its id
        self.outbox: dict[str, str] = {}
        self.faults: list[str] = []
        self.cuts = 0
        # As if each came through another proxy: one address may not have so many clients.
        address = f"10.0.{number >> 8}.{number & 255}"
        self.socket = WSClient(
            crowd.url,
            reconnect=True,
            headers={"X-Forwarded-For": address},
            subprotocols=SUBPROTOCOL,
            open_timeout=OPEN_SECONDS,
            ping_interval=None,
            proxy=None,
        )
        self.socket.onopen(self.enter)
        self.socket.onmessage(lambda message: self.receive(json.loads(message)))
        self.socket.onclose(self.leave)
        self.socket.onerror(self.fail)
        self.socket.start()

    def enter(self) -> None:
        name, key = f"P{self.number}", f"key {self.number}"
        mine = {**hello(name, self.room, key, self.history, self.seen), "id": "hello"}
        self.socket.send(json.dumps(mine))

    def leave(self) -> None:
        self.here = False
        self.cuts += 1

    def fail(self, error: BaseException) -> None:
        if not isinstance(error, (OSError, HandshakeRefused)):  # they tell of a node that is killed
            self.faults.append(repr(error))

    def receive(self, event: dict[str, Any]) -> None:
        if event["type"] == "welcome":
            self.be_welcomed(event)
        elif event["type"] == "error":
            again = (self.send, event["id"]) if self.here else (self.enter,)
            self.crowd.later(event["retry"], *again)
        elif event["type"] == "message":
            self.hear(event)

    def be_welcomed(self, event: dict[str, Any]) -> None:
        if self.history and not event["resumed"]:
            self.faults.append("has lost its place in the history")
        self.history = event["history"]
        for message in event["messages"]:
            self.hear(message)
        self.here = True
        for name in list(self.outbox):
            self.send(name)

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

    def say(self, name: str) -> None:
        self.outbox[name] = str(time.time())
        self.crowd.said.setdefault(self.room, []).append(name)
        self.send(name)

    def send(self, name: str) -> None:
        text = self.outbox.get(name)
        if self.here and text is not None:  # otherwise it is sent when it is here again
            self.socket.send(json.dumps({"type": "say", "id": name, "text": text}))


class Crowd:
    """Clients in rooms, one of each room a talker."""

    def __init__(self, url: str, clients: int, rooms: int) -> None:
        self.url = url
        self.said: dict[str, list[str]] = {}
        self.to_say = 0
        self.delays: list[float] = []
        self._clock = sched.scheduler(time.monotonic)
        self._ended = threading.Event()
        threading.Thread(target=self._tick, daemon=True).start()
        self.clients = [Client(self, n, f"room {n % rooms}") for n in range(clients)]
        self.talkers = self.clients[:rooms]

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        with ThreadPoolExecutor(ENDING_AT_ONCE) as pool:
            list(pool.map(lambda client: client.socket.shutdown(1), self.clients))

    def later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        """Call something in a while."""
        self._clock.enter(seconds, 0, call, arguments)

    def _tick(self) -> None:
        while not self._ended.wait(0.005):
            self._clock.run(blocking=False)

    def talk(self, messages: int, seconds: float) -> None:
        """Have each talker say some messages, spread over some seconds from now on."""
        self.to_say += messages * len(self.talkers)
        for talker in self.talkers:
            first = random.uniform(0, seconds / messages)
            for number in range(messages):
                self.later(first + number * seconds / messages, self._say, talker)

    def _say(self, talker: Client) -> None:
        talker.say(f"{talker.number}-{len(self.said.get(talker.room, ()))}")
        self.to_say -= 1

    def until(self, condition: Callable[[], bool], what: str, seconds: float = 120) -> float:
        """Wait; return the seconds that it took."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > seconds:
                raise TimeoutError(f"{what}: not in {seconds:g} s; {self.summary()}")
            time.sleep(0.05)
        return time.monotonic() - began

    def all_said(self) -> bool:
        return not self.to_say

    def all_here(self) -> bool:
        return all(client.here for client in self.clients)

    def all_heard(self) -> bool:
        heard = (len(c.heard) >= len(self.said.get(c.room, ())) for c in self.clients)
        return self.all_said() and all(heard)

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
        here = sum(client.here for client in self.clients)
        heard = sum(len(client.heard) for client in self.clients)
        due = sum(len(self.said.get(client.room, ())) for client in self.clients)
        cuts = sum(client.cuts for client in self.clients)
        return f"{here} of {len(self.clients)} clients here, {heard} of {due} heard, {cuts} cuts"

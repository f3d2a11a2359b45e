"""One flood of a crowd: `python -m tests.attacks.crowds.floods CROWD NUMBER PORT [tls]`.

CROWD and NUMBER tell which flood of the table it is. It connects, and prints "ready". At a line of
its standard input, a number of seconds, it attacks for so long; then it prints in JSON what it has
sent, and how many connections it has lost.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.attacks.crowds.table import BY_NAME
from tests.support.certificates import unverified_context
from tests.support.frames import PING, PONG, frame
from tests.support.heads import request

NICENESS = 10
"""Honest clients, who share a core with the attackers, go before them."""
AUTOGROUP = Path("/proc/self/autogroup")
"""Where Linux has autogroups, this process's is what is nice to others (sched(7))."""
AGAIN_SECONDS = 0.1
"""How long one that was refused, or cut, stays away."""
PATIENCE_SECONDS = 20.0
"""How long all may take to connect, and how long those who knock wait for an answer."""
ONCE_SECONDS = 60.0
"""How long the answers may take to those who send only a number of times."""
SMALL = 4096
"""The receive buffer of one that doesn't read."""
LOST = (OSError, EOFError, asyncio.TimeoutError)
"""What shows that a connection is lost; a refusal is one."""


class Attackers:
    """All connections of a flood."""

    def __init__(self, flood, port, tls):
        self.flood, self.port = flood, port
        self.context = unverified_context() if tls and not flood.knocks else None
        self.data = flood.data()
        self.sent = self.lost = 0
        self.tried = 0  # of those at the start, to connect
        self.begun = asyncio.Event()

    async def connect(self):
        """Return a reader and a writer."""
        sock = socket.socket()
        try:
            if not self.flood.reads:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
            sock.setblocking(False)
            await asyncio.get_event_loop().sock_connect(sock, ("127.0.0.1", self.port))
            tls = {"ssl": self.context, "server_hostname": "localhost"} if self.context else {}
            return await asyncio.open_connection(sock=sock, **tls)
        except BaseException:
            sock.close()
            raise

    async def attack(self):
        """Be one attacker, who comes back when its connection is lost."""
        while True:
            writer = None
            try:
                reader, writer = await self.connect()
                await self.handshake(reader, writer)
                self.tried += 1
                await self.begun.wait()
                await self.use(reader, writer)
                return
            except LOST:
                self.lost += 1
                self.tried += not self.begun.is_set()
            finally:
                if writer:
                    writer.transport.abort()
            await asyncio.sleep(AGAIN_SECONDS)

    async def handshake(self, reader, writer):
        writer.write(request("/", *self.flood.fields))
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head:
            raise EOFError("refused")

    async def use(self, reader, writer):
        """Send what there is to send until the connection is lost."""
        if not self.flood.reads:
            writer.transport.pause_reading()
        times = 0
        while not self.flood.times or times < self.flood.times:
            times += 1
            await self.send(writer, self.data)
            for _ in range(self.flood.replies):
                await self.reply(reader, writer)
        while not (self.flood.times and self.flood.replies):
            await self.reply(reader, writer)

    async def send(self, writer, data):
        writer.write(data)
        self.sent += len(data)
        await writer.drain()

    async def reply(self, reader, writer):
        """Await a frame; answer pings meanwhile."""
        while True:
            first, length = await reader.readexactly(2)
            if length >= 126:
                length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
            payload = await reader.readexactly(length)
            if first & 15 != PING:
                return
            await self.send(writer, frame(PONG, payload))

    async def knock(self):
        """Have all connect, send at once, and leave when they are answered; again and again."""
        while True:
            opened = await asyncio.gather(
                *[self.connect() for _ in range(self.flood.connections)], return_exceptions=True
            )
            self.tried = len(opened)
            await self.begun.wait()
            peers = [peer for peer in opened if isinstance(peer, tuple)]
            self.lost += len(opened) - len(peers)
            for _, writer in peers:
                writer.write(self.data)
                self.sent += len(self.data)
            answers = [reader.read(1) for reader, _ in peers]
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(
                    asyncio.gather(*answers, return_exceptions=True), PATIENCE_SECONDS
                )
            for _, writer in peers:
                writer.transport.abort()

    async def run(self):
        """Connect, attack for as long as we are told, and say what was sent."""
        flood, loop = self.flood, asyncio.get_event_loop()
        attackers = (
            [self.knock()] if flood.knocks else [self.attack() for _ in range(flood.connections)]
        )
        tasks = [asyncio.ensure_future(attacker) for attacker in attackers]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.tried < flood.connections and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        print("ready", flush=True)
        seconds = float(await loop.run_in_executor(None, sys.stdin.readline))
        self.sent = self.lost = 0
        self.begun.set()
        if flood.times and flood.replies:  # it ends by itself
            seconds = ONCE_SECONDS
        done, _ = await asyncio.wait(tasks, timeout=seconds)
        for task in done:
            task.result()  # or the exception, which is a fault of ours
        print(json.dumps({"sent": self.sent, "lost": self.lost}), flush=True)
        os._exit(0)  # and leave it to the system to end the connections


def main():
    crowd, number, port, *tls = sys.argv[1:]
    with suppress(OSError):
        os.nice(NICENESS)
        AUTOGROUP.write_text(str(NICENESS))
    with suppress(ImportError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    flood = BY_NAME[crowd].floods[int(number)]

    async def run():
        await Attackers(flood, int(port), bool(tls)).run()

    asyncio.run(run())


if __name__ == "__main__":
    main()

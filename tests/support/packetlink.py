"""A link between two network namespaces: a thread carries its packets, or delays or loses them.

It needs Linux and the right to make namespaces: root has it, or anybody after `unshare`.
"""

from __future__ import annotations

import collections
import ctypes
import heapq
import os
import random
import select
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Iterator

HERE, THERE = "10.213.7.1", "10.213.7.2"
"""The addresses of the two ends."""
QUEUE_SECONDS = 0.02
POLL_SECONDS = 0.02
CLONE_NEWNET = 0x40000000
TUNSETIFF, SIOCSIFFLAGS, SIOCSIFMTU = 0x400454CA, 0x8914, 0x8922
SIOCSIFADDR, SIOCSIFDSTADDR = 0x8916, 0x8918
IFF_UP, IFF_TUN, IFF_NO_PI = 0x1, 0x1, 0x1000
IP_HEADER_SIZE = 20
MAX_PACKET_SIZE = 1 << 16


def unshare() -> None:
    """Move this thread, and what it makes from now on, to a network namespace of its own."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "no network namespace")


class Namespace(ThreadPoolExecutor):
    """A network namespace, and a thread in it."""

    def __init__(self) -> None:
        super().__init__(1)
        self.run(unshare)

    def run(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call a function in the namespace, which its sockets and programs then belong to."""
        return self.submit(function, *args, **options).result()


def open_tun(address: str, other: str, mtu: int) -> int:
    """Return the descriptor of a new device, by which packets leave and enter this namespace."""
    import fcntl  # Windows doesn't have it

    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    name = b"link".ljust(16, b"\0")
    fcntl.ioctl(tun, TUNSETIFF, name + struct.pack("H22x", IFF_TUN | IFF_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for request, ip in ((SIOCSIFADDR, address), (SIOCSIFDSTADDR, other)):
            end = struct.pack("H2x4s16x", socket.AF_INET, socket.inet_aton(ip))
            fcntl.ioctl(control, request, name + end)
        fcntl.ioctl(control, SIOCSIFMTU, name + struct.pack("i20x", mtu))
        fcntl.ioctl(control, SIOCSIFFLAGS, name + struct.pack("H22x", IFF_UP))
    return tun


class Direction:
    """One direction of a link: what happens to its packets, and to how many of them.

    Args:
        seed: Of the random choices.
        delay: Seconds that each packet takes.
        jitter: At most this many seconds more; the order stays.
        rate: Bytes a second; a packet that would wait for longer than QUEUE_SECONDS is lost.
        lost: Share of the packets, 0 to 1, that are lost; the others likewise.
        doubled: Share that arrives twice.
        corrupted: Share with one bit flipped.
        overtaking: Share that arrives before those sent earlier.

    Attributes:
        cut: True to lose all packets from now on.
        stalled_until: When packets are delivered again, by `time.monotonic`.
        counts: How many packets were taken, lost, late…
    """

    def __init__(
        self,
        seed: int,
        *,
        delay: float = 0.0,
        jitter: float = 0.0,
        rate: float = float("inf"),
        lost: float = 0.0,
        doubled: float = 0.0,
        corrupted: float = 0.0,
        overtaking: float = 0.0,
    ) -> None:
        self.delay, self.jitter, self.rate = delay, jitter, rate
        self.shares = {"lost": lost, "doubled": doubled}
        self.shares.update(corrupted=corrupted, overtaking=overtaking)
        self.cut, self.stalled_until = False, 0.0
        self.counts: collections.Counter[str] = collections.Counter()
        self._random = random.Random(seed)
        self._sent = self._due = 0.0  # of the last packet

    def _happens(self, what: str) -> bool:
        happens = self._random.random() < self.shares[what]
        self.counts[what] += happens
        return happens

    def take(self, packet: bytes, now: float) -> list[tuple[float, bytes]]:
        """Return (when to deliver it, packet) for each packet that this one becomes."""
        self.counts["taken"] += 1
        sent = max(now, self._sent) + len(packet) / self.rate
        if self.cut or sent - now > QUEUE_SECONDS:
            self.counts["lost"] += 1
            return []
        self._sent = sent
        if self._happens("lost"):
            return []
        if self._happens("corrupted"):
            flipped = bytearray(packet)
            flipped[self._random.randrange(IP_HEADER_SIZE, len(packet))] ^= 1
            packet = bytes(flipped)
        if self._due > now and self._happens("overtaking"):
            return [(now, packet)]
        late = sent + self.delay + self.jitter * self._random.random()
        self._due = max(late, self._due, self.stalled_until)
        self.counts["late"] += self._due > now
        return [(self._due, packet)] * (1 + self._happens("doubled"))


class PacketLink:
    """Two namespaces, *here* and *there*, and a thread that carries packets between them."""

    def __init__(
        self, here: Namespace, there: Namespace, tuns: tuple[int, int], **impairments: float
    ) -> None:
        self.here, self.there = here, there
        self.to_there, self.to_here = Direction(1, **impairments), Direction(2, **impairments)
        self.directions = {"there": self.to_there, "here": self.to_here}
        self._routes = {tuns[0]: (self.to_there, tuns[1]), tuns[1]: (self.to_here, tuns[0])}
        self._done = threading.Event()
        self._carrier = threading.Thread(target=self._carry)

    def __enter__(self) -> PacketLink:
        self._carrier.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._carrier.join()

    def _carry(self) -> None:
        waiting: list[tuple[float, int, int, bytes]] = []
        number = 0
        poll = select.poll()
        for tun in self._routes:
            poll.register(tun, select.POLLIN)
        while not self._done.is_set():
            pause = POLL_SECONDS
            if waiting:
                pause = min(pause, max(0, waiting[0][0] - time.monotonic()))
            for tun, _ in poll.poll(pause * 1000):
                packet = os.read(tun, MAX_PACKET_SIZE)
                if packet[0] >> 4 != 4:
                    continue  # IPv6 looks for routers
                direction, end = self._routes[tun]
                for due, copy in direction.take(packet, time.monotonic()):
                    number += 1
                    heapq.heappush(waiting, (due, number, end, copy))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, end, packet = heapq.heappop(waiting)
                os.write(end, packet)


@contextmanager
def packet_link(mtu: int = 1500, **impairments: float) -> Iterator[PacketLink]:
    """Make a link; *impairments* are arguments of both its directions."""
    with ExitStack() as stack:
        here, there = (stack.enter_context(Namespace()) for _ in range(2))
        tuns = here.run(open_tun, HERE, THERE, mtu), there.run(open_tun, THERE, HERE, mtu)
        for tun in tuns:
            stack.callback(os.close, tun)
        yield stack.enter_context(PacketLink(here, there, tuns, **impairments))

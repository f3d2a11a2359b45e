"""A link between two network namespaces: a thread carries its packets, or delays or loses them.

For Linux, and for who may make namespaces: root, or anybody in a user namespace (`unshare`).
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

HERE, THERE = "10.213.7.1", "10.213.7.2"
QUEUE_SECONDS = 0.02
CLONE_NEWNET = 0x40000000
TUNSETIFF, SIOCSIFFLAGS, SIOCSIFMTU = 0x400454CA, 0x8914, 0x8922
SIOCSIFADDR, SIOCSIFDSTADDR = 0x8916, 0x8918
IFF_UP, IFF_TUN, IFF_NO_PI = 0x1, 0x1, 0x1000
IP_HEADER_SIZE = 20
MAX_PACKET_SIZE = 1 << 16


def unshare():
    """Have this thread, and what it makes, in a network namespace of its own from now on."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "no network namespace")


class Namespace(ThreadPoolExecutor):
    """A network namespace, and a thread in it."""

    def __init__(self):
        super().__init__(1)
        self.run(unshare)

    def run(self, function, *args, **options):
        """Call a function there: its sockets and programs belong there, then."""
        return self.submit(function, *args, **options).result()


def open_tun(address, other, mtu):
    """Return a new device's descriptor, by which packets leave and enter this namespace."""
    import fcntl  # which Windows doesn't have

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


class Way:
    """One direction of a link: what befalls its packets, and how many of them.

    delay, jitter: seconds for each, and up to so many more; the order stays.
    rate: bytes a second; what would wait for longer than QUEUE_SECONDS is lost.
    lost, doubled, corrupted, overtaking: shares of the packets, 0 to 1.
    cut: lose all, from now on; stalled_until: keep all until then, by `time.monotonic`.
    """

    def __init__(
        self, seed, *, delay=0.0, jitter=0.0, rate=float("inf"),
        lost=0.0, doubled=0.0, corrupted=0.0, overtaking=0.0,
    ):  # fmt: skip
        self.delay, self.jitter, self.rate = delay, jitter, rate
        self.shares = {"lost": lost, "doubled": doubled}
        self.shares.update(corrupted=corrupted, overtaking=overtaking)
        self.cut, self.stalled_until = False, 0.0
        self.counts = collections.Counter()
        self._random = random.Random(seed)
        self._sent = self._due = 0.0  # of the last packet

    def _happens(self, what):
        happens = self._random.random() < self.shares[what]
        self.counts[what] += happens
        return happens

    def take(self, packet, now):
        """Return (when to deliver, packet) for each that comes of this one."""
        self.counts["taken"] += 1
        sent = max(now, self._sent) + len(packet) / self.rate
        if self.cut or sent - now > QUEUE_SECONDS:
            self.counts["lost"] += 1
            return []
        self._sent = sent
        if self._happens("lost"):
            return []
        if self._happens("corrupted"):
            packet = bytearray(packet)
            packet[self._random.randrange(IP_HEADER_SIZE, len(packet))] ^= 1
        if self._due > now and self._happens("overtaking"):
            return [(now, packet)]
        late = sent + self.delay + self.jitter * self._random.random()
        self._due = max(late, self._due, self.stalled_until)
        self.counts["late"] += self._due > now
        return [(self._due, packet)] * (1 + self._happens("doubled"))


class Link:
    """Two namespaces, *here* and *there*, and what carries packets between them."""

    def __init__(self, here, there, tuns, **befalls):
        self.here, self.there = here, there
        self.ways = {"there": Way(1, **befalls), "here": Way(2, **befalls)}
        self._routes = dict(zip(tuns, zip(self.ways.values(), reversed(tuns))))
        self._done = threading.Event()
        self._carrier = threading.Thread(target=self._carry)

    def __enter__(self):
        self._carrier.start()
        return self

    def __exit__(self, *exc):
        self._done.set()
        self._carrier.join()

    def _carry(self):
        waiting, number = [], 0
        poll = select.poll()
        for tun in self._routes:
            poll.register(tun, select.POLLIN)
        while not self._done.is_set():
            pause = 0.02
            if waiting:
                pause = min(pause, max(0, waiting[0][0] - time.monotonic()))
            for tun, _ in poll.poll(pause * 1000):
                packet = os.read(tun, MAX_PACKET_SIZE)
                if packet[0] >> 4 != 4:
                    continue  # IPv6 looks for routers
                way, end = self._routes[tun]
                for due, copy in way.take(packet, time.monotonic()):
                    number += 1
                    heapq.heappush(waiting, (due, number, end, copy))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, end, packet = heapq.heappop(waiting)
                os.write(end, packet)


@contextmanager
def linked(mtu=1500, **befalls):
    """Make a link; *befalls* are arguments of both its ways."""
    with ExitStack() as stack:
        here, there = (stack.enter_context(Namespace()) for _ in range(2))
        tuns = here.run(open_tun, HERE, THERE, mtu), there.run(open_tun, THERE, HERE, mtu)
        for tun in tuns:
            stack.callback(os.close, tun)
        yield stack.enter_context(Link(here, there, tuns, **befalls))

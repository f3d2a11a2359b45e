"""The cells of the benchmark: each is one way to use a server or a client, and all take turns."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.peers import CLIENTS, SERVERS, Peer

KIB, MIB = 1 << 10, 1 << 20

OURS, FAST, CALLBACKS = OWN = ("threaded-ws", "threaded-ws-fast", "threaded-ws-callbacks")
BARE = "bare"
"""Not a server, but the least that one written in Python has to do."""
SIDES = {"server": SERVERS, "client": CLIENTS}
"""What may be measured, and the peers that have it."""
ALL = tuple(name for name in SERVERS if name not in (FAST, BARE, "picows-compat"))
"""Without threaded-ws-fast, as the extra changes nothing for small messages, and with picows by its
own API, which is faster than the compatible one."""
WITH_BARE = (*ALL, BARE)
WITH_FAST = (OURS, FAST, *ALL[1:])
SCALING = (OURS, "picows", "websockets-uvloop", "npm-ws")
SIZING = (OURS, FAST, "picows", "websockets-sync", "npm-ws")
CALLERS = (OURS, CALLBACKS, "picows", "websockets-sync", "websocket-client", "aiohttp")
"""Those whose clients are measured."""
CALLERS_WITH_FAST = (OURS, FAST, *CALLERS[1:])


@dataclass(frozen=True)
class Metric:
    """A figure, and whether more of it is better."""

    key: str
    unit: str
    higher_is_better: bool = True


RATE = Metric("rate", "messages/s")
DELIVERIES = Metric("rate", "deliveries/s")
CONNECTIONS = Metric("rate", "connections/s")
CPU = Metric("cpu_us", "µs of CPU per message", False)
P50 = Metric("p50", "µs, median", False)
P99 = Metric("p99", "µs, 99 of 100 are faster", False)
P999 = Metric("p999", "µs, 999 of 1000 are faster", False)
BYSTANDER_P50 = replace(P50, key="bystander_p50")
BYSTANDER_P99 = replace(P99, key="bystander_p99")
MEMORY = Metric("kib", "KiB per client", False)
THREADS = Metric("threads", "threads", False)
IDLE = Metric("percent", "% of a core", False)


@dataclass(frozen=True)
class Cell:
    """One way to use a server or a client.

    Args:
        side: Which of the two is measured, of SIDES. The other end is written in C.
        load: What the clients do: see load.c, and clients.LOADS.
        mode: What the server does, see peers.MODES.
        clients: The number of connections.
        in_flight: The messages of each connection that are on their way at a time.
        size: Bytes of each message.
        deaf: Add one client, which never reads.
        metric: The figure by which peers are ranked; ``also`` are shown beside it.
        warm_up: Seconds of load in each round before the measurement.
        seconds: Length of the measurement in each round.
    """

    name: str
    group: str
    title: str
    side: str = "server"
    load: str = "echo"
    mode: str = "echo"
    clients: int = 16
    in_flight: int = 1
    size: int = 32
    binary: bool = False
    tls: bool = False
    compress: bool = False
    deaf: bool = False
    metric: Metric = RATE
    also: tuple[Metric, ...] = (CPU,)
    peers: tuple[str, ...] = ALL
    rounds: int = 3
    warm_up: float = 0.12
    seconds: float = 0.6

    def takes(self, peer: Peer) -> bool:
        """Say whether the peer takes part, and has what the cell needs."""
        return (
            peer.name in self.peers
            and peer.name in SIDES[self.side]
            and peer.compression >= self.compress
            and peer.tls >= self.tls
            and peer.binary >= self.binary
        )


def _size(size: int) -> str:
    for unit, name in ((MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"


def _echo(group: str, clients: int, in_flight: int, size: int, **more: object) -> Cell:
    short = _size(size).replace(" B", "").replace(" KiB", "k").replace(" MiB", "m")
    title = f"{clients} × {in_flight} × {_size(size)}"
    cell = Cell(
        f"{group}-{clients}x{in_flight}-{short}",
        group,
        title,
        clients=clients,
        in_flight=in_flight,
        size=size,
    )
    return replace(cell, **more)  # type: ignore[arg-type]


def _binary(cell: Cell) -> Cell:
    return replace(cell, name=f"{cell.name}-binary", title=f"{cell.title}, binary", binary=True)


def _broadcast(size: int, clients: int, in_flight: int, deaf: bool) -> Cell:
    return replace(
        _echo("broadcast", clients, in_flight, size),
        name=f"broadcast-{clients}x{in_flight}-{size}{'-deaf' * deaf}",
        title=f"{_size(size)} to {clients:,}, {in_flight} in flight"
        + ", and one that never reads" * deaf,
        load="broadcast",
        mode="broadcast",
        deaf=deaf,
        metric=DELIVERIES,
        peers=ALL if deaf else WITH_BARE,
    )


def _memory(name: str, title: str, **more: object) -> Cell:
    cell = Cell(
        f"memory-{name}",
        "memory",
        title,
        load="hold",
        clients=5000,
        size=2 * KIB,
        metric=MEMORY,
        also=(THREADS,),
        rounds=1,
    )
    return replace(cell, **more)  # type: ignore[arg-type]


def _client(group: str, name: str, title: str, **more: object) -> Cell:
    cell = Cell(name, group, title, "client", clients=1, peers=CALLERS, seconds=1.0)
    return replace(cell, **more)  # type: ignore[arg-type]


def _client_memory(clients: int, peers: tuple[str, ...]) -> Cell:
    return _client(
        "client-memory",
        f"client-memory-{clients}",
        f"{clients:,} clients in one process",
        load="hold",
        clients=clients,
        size=2 * KIB,
        metric=MEMORY,
        also=(THREADS,),
        peers=peers,
        rounds=1,
    )


_SMALL = [
    _echo("echo", 16, 1, 32, peers=WITH_BARE),
    _echo("echo", 256, 1, 32, peers=WITH_BARE),
    _echo("pipelined", 16, 64, 32, peers=WITH_BARE),
    _echo("pipelined", 16, 8, KIB, peers=WITH_BARE),
]
_LARGE = [
    _echo("large", 4, 4, 64 * KIB, peers=WITH_FAST),
    _echo("large", 4, 2, MIB, peers=WITH_FAST),
]
_CLIENT_LARGE = [
    _client(
        "client-large",
        f"client-echo-{short}",
        f"One message at a time, {_size(size)}",
        size=size,
        also=(CPU, P50),
        peers=CALLERS_WITH_FAST,
    )
    for short, size in (("64k", 64 * KIB), ("1m", MIB))
]
CELLS = [
    _echo("latency", 1, 1, 32, metric=P50, also=(P99, P999, RATE, CPU), seconds=1.0),
    *_SMALL,
    *map(_binary, _SMALL),
    *_LARGE,
    *map(_binary, _LARGE),
    *(
        _broadcast(size, clients, in_flight, deaf)
        for deaf in (False, True)
        for clients in (100, 1000)
        for size in (64, 4 * KIB)
        for in_flight in (1, 16)
    ),
    _echo("tls", 16, 1, 32, tls=True),
    _echo("tls", 16, 64, 32, tls=True),
    _echo("tls", 4, 4, 64 * KIB, tls=True, peers=WITH_FAST),
    _echo("compressed", 16, 1, KIB, compress=True, peers=WITH_FAST),
    _echo("compressed", 16, 8, KIB, compress=True, peers=WITH_FAST),
    _echo("compressed", 4, 4, 64 * KIB, compress=True, peers=WITH_FAST),
    Cell(
        "connect-plain",
        "connect",
        "Connections opened and closed",
        load="connect",
        clients=4,
        metric=CONNECTIONS,
        seconds=1.0,
    ),
    Cell(
        "connect-tls",
        "connect",
        "Over TLS",
        load="connect",
        clients=4,
        tls=True,
        metric=CONNECTIONS,
        seconds=1.0,
    ),
    Cell(
        "blocking-rate",
        "blocking",
        "Fifty clients whose callbacks block for 0.2 s",
        mode="verbs",
        clients=50,
        metric=replace(RATE, unit="callbacks/s, at best 250"),
        also=(BYSTANDER_P50, BYSTANDER_P99),
        warm_up=0.5,
        seconds=2.0,
    ),
    *(
        _echo("clients", clients, 1, 32, metric=CPU, also=(RATE,), peers=SCALING)
        for clients in (16, 256, 1000, 5000)
    ),
    *(
        _echo("sizes", 4, 1, size, binary=True, metric=CPU, also=(RATE,), peers=SIZING)
        for size in (KIB, 32 * KIB, MIB, 16 * MIB)
    ),
    _memory("plain", "Plain"),
    _memory("tls", "TLS", tls=True),
    _memory("compressed", "Compressed", compress=True),
    Cell(
        "idle",
        "idle",
        "A server with 1,000 clients, all silent",
        load="idle",
        clients=1000,
        metric=IDLE,
        also=(),
        rounds=1,
        seconds=20.0,
    ),
    _client(
        "client-echo",
        "client-echo-32",
        "One message at a time, 32 B",
        metric=P50,
        also=(P99, P999, RATE, CPU),
    ),
    _client(
        "client-stream",
        "client-stream-32",
        "A stream of 32 B",
        load="stream",
        in_flight=1000,
    ),
    *_CLIENT_LARGE,
    *map(_binary, _CLIENT_LARGE),
    _client(
        "client-connect",
        "client-connect",
        "Connections opened and closed, one after another",
        load="connect",
        metric=CONNECTIONS,
    ),
    _client_memory(1000, CALLERS),
    _client_memory(10_000, (OURS, CALLBACKS)),
]
BY_NAME = {cell.name: cell for cell in CELLS}

QUICK_CELLS = (
    "latency-1x1-32 echo-16x1-32 pipelined-16x64-32 pipelined-16x8-1k large-4x4-64k "
    "broadcast-100x1-64 broadcast-100x16-64 tls-16x1-32 compressed-16x8-1k "
    "client-echo-32 client-stream-32"
).split()
QUICK_PEERS = (OURS, FAST, "picows", "websockets-sync", "npm-ws")
GATE_CELLS = ("echo-16x1-32", "pipelined-16x64-32", "large-4x4-64k", "broadcast-100x1-64")
GATE_PEERS = (OURS, "picows", "websockets-asyncio")

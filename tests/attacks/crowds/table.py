"""The crowds: what each sends to which server, and what that may cost others."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from typing import Any, Callable

from chat.protocol import MAX_MESSAGE_BYTES
from tests.attacks.figures import Bounds
from tests.support.certificates import client_hello
from tests.support.chatclient import SUBPROTOCOL, hello
from tests.support.frames import BINARY, CONT, TEXT, frame
from tests.support.heads import request

MIB = 1 << 20
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"
CHAT = f"Sec-WebSocket-Protocol: {SUBPROTOCOL}"
EMPTY_BLOCKS = bytes.fromhex("04c0810800000000207feb43001c880000000000f2b73e")
"""Two deflate blocks with Huffman codes of their own and nothing else: the slowest to inflate."""
LONG_ID = "a" * 60_000


@dataclass(frozen=True)
class Flood:
    """What connections do together, again and again, until they are told to end.

    Args:
        connections: How many there are. One that is lost is opened again.
        data: Returns what each sends at a time.
        replies: Frames that it awaits before it sends again.
        times: How often it sends; 0 for as long as the flood lasts.
        reads: Whether it reads what comes.
        fields: Further fields of its handshake.
        knocks: There is no handshake: all connect, then all send at once, and leave at the first
            answer.
    """

    connections: int
    data: Callable[[], bytes]
    replies: int = 1
    times: int = 0
    reads: bool = True
    fields: tuple[str, ...] = ()
    knocks: bool = False


@dataclass(frozen=True)
class Crowd:
    """An attack by many connections of one address.

    Args:
        name: A word for tests and the command line.
        title: What the table calls it.
        floods: What it does, all at the same time.
        bounds: What it may cost others.
        options: Those of the server.
        program: What is attacked: "server", the one in this package, or "chat".
        rsa: The size of the server's RSA key in bits; 0 without TLS.
        longer: How many times as long as the others it lasts.
    """

    name: str
    title: str
    floods: tuple[Flood, ...]
    bounds: Bounds
    options: dict[str, Any] = field(default_factory=dict)
    program: str = "server"
    rsa: int = 0
    longer: int = 1

    @property
    def connections(self) -> int:
        """How many connections it has at a time."""
        return sum(flood.connections for flood in self.floods)


def squeezed(payload: bytes, opcode: int = TEXT, fin: bool = True) -> bytes:
    """Return a compressed message, or its first fragment."""
    compressor = zlib.compressobj(9, wbits=-15)
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return frame(opcode, data[:-4] if fin else data, fin, rsv=4)


def text(message: str) -> Callable[[], bytes]:
    """Return what makes a message."""
    return lambda: frame(TEXT, message.encode())


def bombs() -> bytes:
    """Three messages of a kilobyte, each of which inflates to just below a mebibyte."""
    return squeezed(b"length:" + b"x" * (MIB - 100)) * 3


def unfinished(size: int) -> Callable[[], bytes]:
    """Return what makes the start of a long text, which takes four bytes a character as a str."""
    return lambda: squeezed("😀".encode() + b"a" * (size - 100), fin=False)


def unfinished_text() -> bytes:
    """The same for the chat, which doesn't compress."""
    text = "😀".encode() + b"a" * (MAX_MESSAGE_BYTES - 100)
    return frame(TEXT, text, fin=False)


def empty_blocks() -> bytes:
    """A message that is slow to inflate, and empty."""
    return frame(BINARY, EMPTY_BLOCKS * (MIB // 2 // len(EMPTY_BLOCKS)) + b"\0", rsv=4)


def crumbs() -> bytes:
    """A text of 60 MiB in a fragment of 60 kB, and 91,000 fragments of a character each: 700 kB.

    In a block with deflate's fixed codes, an "x" is the eight bits after the block's first three.
    """
    first = squeezed("length:😀".encode() + b"x" * (60 * MIB), fin=False)
    others = [b"\xaa", *[b"\xa8"] * 91_000, b"\0"]
    return b"".join([first, *[frame(CONT, each, fin=False) for each in others], frame(CONT, b"\0")])


def slow_head() -> bytes:
    """A request with an extension of 7,000 parameters."""
    return request("/", DEFLATE + ";x" * 7_000)


def costly_requests() -> bytes:
    """The chat's costliest requests, for what they are or for their size."""
    enter = {**hello("Eve", "crowd", "key of Eve"), "id": LONG_ID}
    requests: list[dict[str, Any]] = [
        enter,
        {"type": "say", "id": LONG_ID, "text": "x"},
        {"type": "say", "id": "1", "text": "😀" * 15_000},
        {"type": "older", "before": 1 << 50},
    ]
    texts = [json.dumps(each, ensure_ascii=False) for each in requests]
    return b"".join(frame(TEXT, each.encode()) for each in texts)


BOMBS = Flood(900, bombs, replies=3, fields=(DEFLATE,))
SLOW_HEADS = Flood(500, slow_head, knocks=True)
UNREAD = Flood(80, lambda: text(f"big:{MIB}")() * 50, replies=0, times=1, reads=False)
EMPTIES = Flood(100, empty_blocks, fields=(DEFLATE,))
CRUMBS = Flood(1, crumbs, times=1, fields=(DEFLATE,))
HELD = Flood(200, unfinished(MIB), replies=0, times=1, fields=(DEFLATE,))

BUDGET_MIB = 128
GOVERNED = {"compression": True, "max_memory": BUDGET_MIB * MIB, "max_clients_per_address": 1000}


def some(flood: Flood, connections: int) -> Flood:
    """Return a flood of fewer connections, which goes on."""
    return Flood(**{**vars(flood), "connections": connections, "times": 0})


def computing(connections: int, seconds: float) -> Flood:
    """Return a flood of messages that are slow to answer."""
    return Flood(connections, text(f"compute:{seconds}"))


def sleeping(connections: int, seconds: float) -> Flood:
    """Return a flood of messages that block before they are answered."""
    return Flood(connections, text(f"sleep:{seconds}"))


MIXTURE = (
    some(BOMBS, 300),
    some(SLOW_HEADS, 100),
    UNREAD,
    computing(64, 0.01),
    sleeping(64, 0.01),
    some(EMPTIES, 60),
    some(CRUMBS, 4),
    HELD,
)

CROWDS = (
    Crowd("nobody", "No attack", (), Bounds()),
    Crowd(
        "bombs",
        "Compressed messages of 1 kB that inflate to 1 MiB, three from each at a time",
        (BOMBS,),
        Bounds(p99=30, max=120, memory=1.5 * BUDGET_MIB),
        GOVERNED,
    ),
    Crowd(
        "heads",
        "Requests of 14 kB with an extension of 7,000 parameters, all at once",
        (SLOW_HEADS,),
        Bounds(max=60),
        {"compression": True},
    ),
    Crowd("unread", "Requests for replies of 1 MiB that nobody reads", (UNREAD,), Bounds(p99=20)),
    Crowd("computing", "Callbacks that compute for 10 ms", (computing(64, 0.01),), Bounds(p99=40)),
    Crowd(
        "computing-long",
        "Callbacks that compute for 30 ms",
        (computing(64, 0.03),),
        Bounds(p99=100),
    ),
    Crowd("sleeping", "Callbacks that sleep for 10 ms", (sleeping(64, 0.01),), Bounds(p99=8)),
    Crowd("sleeping-more", "The same, of more", (sleeping(200, 0.01),), Bounds(p99=32)),
    Crowd(
        "empties",
        "Compressed messages of empty blocks",
        (EMPTIES,),
        Bounds(p99=30),
        {"compression": True},
    ),
    Crowd(
        "crumbs",
        "One compressed message of 60 MiB in 91,000 fragments; limits of 64 MiB",
        (CRUMBS,),
        Bounds(cpu=0.5),
        {"compression": True, "max_message_size": 64 * MIB, "max_queue_size": 64 * MIB},
    ),
    Crowd(
        "hellos",
        "Openings of TLS handshakes, all at once; RSA-4096",
        (Flood(500, client_hello, knocks=True),),
        Bounds(max=100),
        rsa=4096,
    ),
    Crowd(
        "mixture",
        "All of these that go together, fewer of each, and unfinished messages",
        MIXTURE,
        Bounds(memory=1.5 * BUDGET_MIB),
        GOVERNED,
        longer=4,
    ),
    Crowd(
        "chat-unfinished",
        "Chat: texts that are unfinished, from clients that haven't said hello",
        (Flood(60, unfinished_text, replies=0, times=1, fields=(CHAT,)),),
        Bounds(memory=32),
        program="chat",
    ),
    Crowd(
        "chat-requests",
        "Chat: its costliest requests",
        (Flood(64, costly_requests, fields=(CHAT,)),),
        Bounds(p99=50),
        program="chat",
    ),
)
BY_NAME = {crowd.name: crowd for crowd in CROWDS}

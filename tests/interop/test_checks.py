"""What an end of ours and a foreign one have to agree on, for each row of the table."""

from __future__ import annotations

import random

from tests.interop.rows import CHECKS
from tests.support.waiting import eventually
from ws import Compression

LARGE = 1 << 20
"""Bytes of the largest message that both ends accept by default."""
PARTS = ["one, ", "two, ", "three"]
SMALLER = 0.8
"""The part of `TEXT` that a compressed message has at most."""
AGAIN = 0.2
"""The part of it at most, if it refers to the last message, and at least, if it doesn't."""
TEXT = 2 * random.Random(2).randbytes(512).hex()
"""Random, so that only its second half can refer to the message itself."""
COMPRESSION = Compression(threshold=0, server_context_takeover=True)


def echoes(link, *messages):
    for message in messages:
        link.send(message)
        assert link.receive() == message


def cost(link):
    """Return the bytes in which `TEXT` comes back."""
    before = link.bytes_in()
    echoes(link, TEXT)
    return link.bytes_in() - before


def test_text(link):
    """Text has characters of one to four bytes."""
    echoes(link(), "hello, wörld ✓ 🙂")


def test_binary(link):
    echoes(link(), bytes(range(256)))


def test_empty(link):
    """An empty message is one, too."""
    echoes(link(), "", b"", "still here")


def test_large(link):
    data = random.Random(1).randbytes(LARGE)
    echoes(link(), data, "é" * (LARGE // 2))


def test_fragments_to(link):
    """Our fragments, empty ones included, with a ping between them, are one message there."""
    to = link()

    def parts():
        yield from ("one, ", "", "two, ")
        to.ping()
        yield "three"

    to.send(parts())
    assert to.receive() == "".join(PARTS)


def test_fragments_from(link):
    """Its fragments are one message here, and they are fragments: a limit of two refuses them."""
    to = link()
    to.send("/fragments")
    assert to.receive() == "".join(PARTS)
    to = link(max_fragments=2)
    to.send("/fragments")
    assert to.peer.closed()[0] == 1009


def test_ping_to(link):
    to = link()
    to.ping()
    assert eventually(lambda: to.latency is not None, what="a pong")
    echoes(to, "still here")


def test_ping_from(link):
    to = link()
    to.send("/ping")
    assert to.receive() == "pong"


def test_deflate_to(link):
    """It takes compressed messages, short and large ones, too, with our default settings."""
    to = link(compression=Compression(threshold=0))
    before = to.bytes_out()
    echoes(to, TEXT)
    assert to.bytes_out() - before < SMALLER * len(TEXT)
    large = random.Random(3).randbytes(LARGE // 2)
    echoes(to, "short", large.hex(), large, TEXT)


def test_deflate_from(link):
    """It compresses, as well."""
    assert cost(link(compression=COMPRESSION)) < SMALLER * len(TEXT)


def test_deflate_empty(link):
    """An empty message, compressed, is a block without data (RFC 7692 §7.2.3.6)."""
    echoes(link(compression=COMPRESSION), "short", "", b"", "", "short")


def test_takeover(link):
    """With its context, the same text again costs it next to nothing."""
    to = link(compression=COMPRESSION)
    echoes(to, TEXT)
    assert cost(to) < AGAIN * len(TEXT)


def test_no_takeover(link):
    """Asked to keep no context, it compresses, but each message by itself."""
    settings = {"server_context_takeover": False, "client_context_takeover": False}
    to = link(compression=Compression(threshold=0, **settings))
    echoes(to, TEXT)
    assert AGAIN * len(TEXT) < cost(to) < SMALLER * len(TEXT)


def test_subprotocol(link):
    to = link()
    assert (to.subprotocol, to.peer.hear("open")["open"]) == ("interop", "interop")


def test_close_by_it(link):
    to = link()
    to.send("/close")
    assert to.closed() == (4001, "over")


def test_close_by_us(link):
    to = link()
    to.close(4002, "bye")
    code, reason = to.peer.closed()
    assert code == 4002
    assert reason in ("bye", None)


def test_shutdown(link):
    """An end that goes away says so: 1001."""
    to = link()
    echoes(to, "hello")
    assert to.shutdown() == 1001


def test_reconnect(link):
    """After the server's end and its start on the same port, the same client connects again."""
    to = link(reconnect=True)
    echoes(to, "before")
    to.restart()
    echoes(to, "after")


def test_tls(link):
    echoes(link(tls=True), "hello", random.Random(4).randbytes(LARGE))


def test_each_check_is_a_column():
    tests = {name[len("test_") :] for name in globals() if name.startswith("test_")}
    assert tests - {"each_check_is_a_column"} == set(CHECKS)

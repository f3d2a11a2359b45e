"""permessage-deflate over real sockets (RFC 7692)."""

from __future__ import annotations

import zlib

import pytest

from tests.support.frames import BINARY, TEXT, frame
from tests.support.heads import request
from tests.support.rawclient import RawClient
from ws import Compression

OFFER = "Sec-WebSocket-Extensions: permessage-deflate"
TAIL = b"\x00\x00\xff\xff"
BOTH = Compression(server_context_takeover=True, client_context_takeover=True, threshold=10)


def squeeze(text, compressor):
    return (compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def test_off_by_default(serve):
    with RawClient(serve().port, request("/", OFFER)) as peer:
        assert peer.status == 101 and "Extensions" not in peer.response


def test_only_if_offered(serve):
    with RawClient(serve(compression=True).port, request()) as peer:
        assert peer.status == 101 and "Extensions" not in peer.response


@pytest.mark.parametrize(
    "settings, offer, kept",
    [
        (True, OFFER, "client"),
        (True, OFFER + "; client_no_context_takeover", ""),
        (Compression(client_context_takeover=False), OFFER, ""),
        (BOTH, OFFER, "client server"),
    ],
)
def test_compressed_both_ways(serve, settings, offer, kept):
    """With the contexts that are kept. A client isn't asked to drop its own unless it offers to."""
    serving = serve(compression=settings)
    peer, _ = serving.connect(offer)
    for side in ("client", "server"):
        assert (f"{side}_no_context_takeover" not in peer.response) is (side in kept)
    text = b"the same again and again, " * 100
    compressor, inflater = zlib.compressobj(wbits=-15), zlib.decompressobj(-15)
    for _ in range(3):
        if "client" not in kept:
            compressor = zlib.compressobj(wbits=-15)
        if "server" not in kept:
            inflater = zlib.decompressobj(-15)
        peer.send_frames(frame(TEXT, squeeze(text, compressor), rsv=4))
        first, length = peer.read(2)
        assert first == 0xC1 and length < 126
        assert inflater.decompress(peer.read(length) + TAIL) == text


def test_per_message(serve):
    serving = serve(compression=Compression(threshold=100))
    peer, client = serving.connect(OFFER)
    server = serving.server
    for compress, size, first in (
        (None, 99, 0x81),
        (None, 100, 0xC1),
        (True, 5, 0xC1),
        (False, 100, 0x81),
    ):
        assert server.send(client, "x" * size, compress=compress)
        assert server.sendall("x" * size, compress=compress) == 1
        for _ in range(2):
            got, length = peer.read(2)
            peer.read(length)
            assert got == first


def test_a_bomb_is_refused(serve):
    serving = serve(compression=True)
    peer, client = serving.connect(OFFER)
    bomb = squeeze(bytes(64 << 20), zlib.compressobj(wbits=-15))
    peer.send_frames(frame(BINARY, bomb, rsv=4))
    assert peer.recv() == (1009, "message of over 1048576 bytes")
    assert serving.next("close") is client


def test_clients_with_and_without_get_the_same_broadcast(serve):
    serving = serve(compression=True)
    with_it, _ = serving.connect(OFFER)
    without, _ = serving.connect()
    text = "hello " * 1000
    assert serving.server.sendall(text) == 2
    assert without.recv() == text
    first, length = with_it.read(2)
    assert first == 0xC1
    assert zlib.decompressobj(-15).decompress(with_it.read(length) + TAIL).decode() == text


def test_fragments_go_uncompressed(serve):
    serving = serve(compression=Compression(threshold=0))
    peer, client = serving.connect(OFFER)
    serving.server.send(client, iter(["a" * 50, "b" * 50]))
    assert peer.recv() == "a" * 50 + "b" * 50

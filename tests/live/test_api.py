"""The public API over real sockets."""

from __future__ import annotations

import gc
import queue
import socket
import struct
import threading

import pytest

from tests.support.frames import CLOSE, CONT, PING, PONG, TEXT, close_frame, frame
from tests.support.processes import free_port, listens
from tests.support.rawclient import connect
from tests.support.waiting import DEADLINE, eventually
from ws import WSServer
from ws.engine.sockets import PlainClient

BASIC_SERVER = """
import sys
from ws import WSServer

# By default server will start on port 8000
# and will accept connections from any host
# Optionally, you can use secure TLS-connection
server = WSServer(host='', port=int(sys.argv[1]), cert=None, key=None)

# User defined callback function for handling incoming messages
# It must take two arguments:
#  - client, which is a socket that came from user
#  - message, already decoded in user-friendly utf-8
def incoming_message(client, message):
	# Send text message to all clients
	server.sendall(message)

# Register callback function that will react everytime
# server got new message
server.onmessage(incoming_message)

# Start server, takes no arguments
server.run()
"""


def test_the_seeds_basic_server_as_a_program(program):
    port = free_port()
    program(BASIC_SERVER, port)
    eventually(lambda: listens(port))
    with connect(port) as one, connect(port) as two:
        two.send("to be sure that both are in")
        assert two.recv() == one.recv() == "to be sure that both are in"
        one.send("grüß Gott 🙂")
        assert one.recv() == two.recv() == "grüß Gott 🙂"


def test_defaults_are_the_seeds():
    server = WSServer()
    assert (server.host, server.port, server.clients) == ("", 8000, [])


@pytest.mark.parametrize("message", ["", "text", "ü" * 70000, b"", b"\x00\xff", b"b" * 70000])
def test_echo(serve, message):
    peer, _ = serve().connect()
    peer.send(message)
    assert peer.recv() == message


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_send_takes_bytes_like_messages(serve, kind):
    serving = serve()
    peer, client = serving.connect()
    assert serving.server.send(client, kind(b"\x01\x02")) is True
    assert peer.recv() == b"\x01\x02"


@pytest.mark.parametrize("message", [None, 1, object(), ["a", b"b"], [1], {"a": 1}])
def test_send_refuses_other_types(serve, message):
    serving = serve()
    _, client = serving.connect()
    with pytest.raises(TypeError):
        serving.server.send(client, message)
    with pytest.raises(TypeError):
        serving.server.sendall(message)


def test_a_client_is_a_socket(serve):
    peer, client = serve().connect()
    assert isinstance(client, socket.socket)
    assert client.fileno() > 0
    assert client.getpeername() == peer.sock.getsockname()
    assert client in {client: 1}
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def test_getpeername_in_all_callbacks_even_after_a_reset(serve):
    serving = serve()
    names = queue.Queue()
    serving.server.onopen(lambda client: names.put(client.getpeername()))
    serving.server.onmessage(lambda client, message: names.put(client.getpeername()))
    serving.server.onclose(lambda client: names.put(client.getpeername()))
    with connect(serving.port) as peer:
        name = peer.sock.getsockname()
        peer.send("x")
        assert [names.get(timeout=DEADLINE) for _ in range(2)] == [name] * 2
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert names.get(timeout=DEADLINE) == name


def test_registrars_are_decorators():
    server = WSServer()
    for register in (server.onopen, server.onmessage, server.onclose, server.onerror):
        assert register(print) is print
    assert server.onrequest(print) is print


def test_clients_in_order_of_arrival_and_gone_before_onclose(serve):
    serving = serve()
    pairs = [serving.connect() for _ in range(3)]
    assert serving.server.clients == [client for _, client in pairs]
    seen = queue.Queue()
    serving.server.onclose(lambda client: seen.put(client in serving.server.clients))
    pairs[1][0].send_frames(close_frame())
    assert seen.get(timeout=DEADLINE) is False
    assert serving.server.clients == [pairs[0][1], pairs[2][1]]


def test_sendall_to_and_exclude(serve):
    serving = serve()
    server = serving.server
    peers, clients = zip(*[serving.connect() for _ in range(3)])
    assert server.sendall("all") == 3
    assert server.sendall("two", to=clients[:2]) == 2
    assert server.sendall("not the first", exclude=clients[0]) == 2
    assert server.sendall("second", to=clients[:2], exclude=[clients[0]]) == 1
    server.sendall("end")
    expected = [
        ["all", "two", "end"],
        ["all", "two", "not the first", "second", "end"],
        ["all", "not the first", "end"],
    ]
    for peer, messages in zip(peers, expected):
        assert [peer.recv() for _ in messages] == messages


def test_rooms(serve):
    serving = serve()
    server = serving.server
    (one, first), (two, second), (three, _) = [serving.connect() for _ in range(3)]
    for client in (first, second):
        server.join(client, "lobby")
        server.join(client, "lobby")  # once is enough
    server.join(second, "attic")
    assert server.rooms == {"lobby": [first, second], "attic": [second]}
    assert server.sendall("hello", to="lobby") == 2
    assert server.sendall("nobody", to="cellar") == 0
    server.leave(second, "lobby")
    server.leave(second, "lobby")
    assert server.sendall("bye", to="lobby", exclude=second) == 1
    server.sendall("end")
    assert [one.recv() for _ in range(3)] == ["hello", "bye", "end"]
    assert [two.recv() for _ in range(2)] == ["hello", "end"]
    assert three.recv() == "end"
    two.close()
    assert serving.next("close") is second
    assert server.rooms == {"lobby": [first]}
    server.join(second, "lobby")
    assert server.rooms == {"lobby": [first]}, "who has left can't join"


def test_close_by_the_server(serve):
    serving = serve()
    peer, client = serving.connect()
    server = serving.server
    assert server.send(client, "last words")
    assert server.close(client, 4000, "done") is True
    assert server.close(client) is False
    assert server.send(client, "too late") is False
    peer.send("ignored")
    assert peer.recv() == "last words"
    assert peer.recv() == (4000, "done")
    peer.send_frames(close_frame(4000, "done"))
    assert serving.next("close") is client
    assert (client.close_code, client.close_reason) == (4000, "done")
    assert peer.at_eof(), "RFC 6455 §7.1.1: the server closes TCP first"
    assert server.ping(client) is False


@pytest.mark.parametrize(
    "answer, noted",
    [
        (close_frame(4000, "done"), (4000, 4000, "done")),
        (close_frame(1000, "ok"), (1000, 1000, "ok")),
        (frame(CLOSE), (1005, 1005, "")),
        (None, (1006, None, "")),
    ],
    ids=["with the same", "with another code", "without a code", "not at all"],
)
def test_what_was_sent_and_what_was_answered(serve, answer, noted):
    serving = serve()
    peer, client = serving.connect()
    assert (client.close_code, client.close_sent, client.close_received) == (None, None, None)
    serving.server.close(client, 4000, "done")
    assert client.close_sent == 4000
    assert peer.recv() == (4000, "done")
    if answer:
        peer.send_frames(answer)
    peer.close()
    assert serving.next("close") is client
    assert client.close_sent == 4000
    assert (client.close_code, client.close_received, client.close_reason) == noted


@pytest.mark.parametrize("code, reason", [(1006, ""), (999, ""), (1000, "x" * 124)])
def test_close_refuses_what_may_not_be_sent(serve, code, reason):
    serving = serve()
    _, client = serving.connect()
    with pytest.raises(ValueError):
        serving.server.close(client, code, reason)
    assert serving.server.clients == [client]


@pytest.mark.parametrize(
    "closing, answer, noted",
    [
        (close_frame(1000, "bye"), (1000, "bye"), (1000, "bye")),
        (frame(CLOSE), (1005, ""), (1005, "")),
        (close_frame(1005), (1002, "invalid close code 1005"), None),
        (frame(TEXT, b"\xff"), (1007, "text is not UTF-8"), None),
    ],
    ids=["a code and a reason", "no code", "a forbidden code", "bad text"],
)
def test_close_by_the_peer(serve, closing, answer, noted):
    serving = serve()
    peer, client = serving.connect()
    peer.send_frames(closing)
    assert peer.recv() == answer
    assert peer.at_eof()
    assert serving.next("close") is client
    assert (client.close_code, client.close_reason) == (noted or answer)
    assert client.close_sent == answer[0]
    assert client.close_received == (noted and noted[0])


def test_close_as_a_socket_cuts(serve):
    serving = serve()
    peer, client = serving.connect()
    client.close()
    assert serving.next("close") is client
    assert (client.close_code, client.close_sent, client.close_received) == (1006, None, None)
    assert peer.at_eof()
    eventually(lambda: client.fileno() == -1)


def test_ping_measures_latency(serve):
    serving = serve()
    peer, client = serving.connect()
    assert client.latency is None
    assert serving.server.ping(client) is True
    opcode, payload, _ = peer.recv_frame()
    assert opcode == PING
    peer.send_frames(frame(PONG, b"another"), frame(10, payload))
    assert 0 < eventually(lambda: client.latency) < DEADLINE


def test_pings_are_answered(serve):
    peer, _ = serve().connect()
    peer.send_frames(frame(PING, b"payload"))
    assert peer.recv_frame() == (PONG, b"payload", True)


def test_fragments_of_an_iterable(serve):
    serving = serve()
    peer, client = serving.connect()
    assert serving.server.send(client, iter(["a", "", "bc"]))
    assert serving.server.send(client, [b"1", b"2"])
    assert serving.server.send(client, [])
    frames = [peer.recv_frame() for _ in range(8)]
    text = [(1, b"a", False), (0, b"", False), (0, b"bc", False), (0, b"", True)]
    assert frames == [*text, (2, b"1", False), (0, b"2", False), (0, b"", True), (1, b"", True)]


def test_other_messages_wait_for_the_end_of_a_fragmented_one(serve):
    serving = serve()
    peer, client = serving.connect()
    server = serving.server

    def chunks():
        yield "one "
        assert server.sendall("between")
        assert server.send(client, iter(["also ", "between"]))
        assert server.ping(client)
        yield "message"

    assert server.send(client, chunks())
    assert peer.recv_frame() == (TEXT, b"one ", False)
    assert peer.recv_frame()[0] == PING, "control frames may go between (§5.4)"
    assert peer.recv_frame() == (CONT, b"message", False)
    assert peer.recv_frame() == (CONT, b"", True)
    assert [peer.recv(), peer.recv()] == ["between", "also between"]


def test_an_iterable_that_raises_closes_with_1011(serve):
    serving = serve()
    peer, client = serving.connect()

    def chunks():
        yield "half a mess"
        raise KeyError("no more")

    with pytest.raises(KeyError):
        serving.server.send(client, chunks())
    assert peer.recv_frame() == (TEXT, b"half a mess", False)
    assert peer.recv() == (1011, "message broken off")


def test_stats(serve):
    serving = serve()
    assert {
        serving.server.stats()[name] for name in ("connections", "bytes_in", "messages_out")
    } == {0}
    peer, client = serving.connect()
    peer.send("12345")
    assert peer.recv() == "12345"
    eventually(lambda: serving.server.stats()["queued"] == 0)
    stats = serving.server.stats()
    (entry,) = stats["clients"]
    assert entry["address"] == client.getpeername()
    assert entry["messages_in"] == entry["messages_out"] == stats["messages_in"] == 1
    assert entry["queued"] == stats["queued"] == 0
    assert entry["latency"] is None
    assert entry["bytes_in"] == stats["bytes_in"] > 11
    peer.close()
    serving.next("close")
    stats = serving.server.stats()
    assert stats["clients"] == [] and stats["messages_in"] == 1 and stats["threads"] >= 2


def test_sends_from_many_threads_are_neither_mixed_nor_cut(serve):
    serving = serve(max_queue_size=1 << 26)
    peer, client = serving.connect()
    sizes = [1, 125, 126, 65535, 65536, 70000]

    def send(letter):
        for size in sizes:
            assert serving.server.send(client, letter * size)

    threads = [threading.Thread(target=send, args=(chr(97 + i),)) for i in range(20)]
    for thread in threads:
        thread.start()
    received = {}
    for _ in range(20 * len(sizes)):
        message = peer.recv()
        assert message == message[0] * len(message)
        received.setdefault(message[0], []).append(len(message))
    assert all(got == sizes for got in received.values())
    for thread in threads:
        thread.join()


def test_clients_that_have_left_are_forgotten(serve):
    serving = serve()
    for _ in range(30):
        peer, _ = serving.connect()
        peer.close()
        serving.next("close")

    def remembered():
        gc.collect()
        return sum(type(thing) is PlainClient for thing in gc.get_objects())  # without stand-ins

    eventually(lambda: remembered() <= 2)  # the loop may hold on to the last that it served

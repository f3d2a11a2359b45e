"""The least that a server in Python has to do: one thread, whole text frames, no checks."""

from __future__ import annotations

import select
import socket
from base64 import b64encode
from hashlib import sha1

from bench.peers.options import Options

RECEIVE_SIZE = 1 << 16
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n\r\n"
)
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
REPEAT = [int.from_bytes(b"\1\0\0\0" * words, "little") for words in range(1 << 11)]


def serve(options: Options) -> None:
    listener = socket.create_server(("127.0.0.1", options.port), backlog=1024)
    options.ready(listener.getsockname()[1])
    poller = select.epoll()
    poller.register(listener, select.EPOLLIN)
    waiting: dict[int, socket.socket] = {}  # for the handshake
    clients: dict[int, socket.socket] = {}
    rests: dict[int, bytes] = {}
    while True:
        for descriptor, _ in poller.poll():
            if descriptor == listener.fileno():
                client, _ = listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                waiting[client.fileno()] = client
                poller.register(client, select.EPOLLIN)
                continue
            client = clients.get(descriptor) or waiting[descriptor]
            try:
                data = client.recv(RECEIVE_SIZE)
            except OSError:
                data = b""
            if not data:
                poller.unregister(descriptor)
                waiting.pop(descriptor, None)
                clients.pop(descriptor, None)
                rests.pop(descriptor, None)
                client.close()
            elif descriptor in waiting:
                clients[descriptor] = waiting.pop(descriptor)
                key = data.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
                client.sendall(ACCEPTED % b64encode(sha1(key + GUID).digest()))
            else:
                replies, rest = echo(rests.get(descriptor, b"") + data)
                rests[descriptor] = rest
                if replies:
                    for receiver in list(clients.values()) if options.broadcast else (client,):
                        try:
                            receiver.sendall(replies)
                        except OSError:  # it has gone
                            pass


def echo(data: bytes) -> tuple[bytes, bytes]:
    """Return the replies to the complete frames in *data*, and the rest of it."""
    replies, position, end = [], 0, len(data)
    while end - position >= 8:
        length, start = data[position + 1] & 127, position + 6
        if length == 126:
            length, start = int.from_bytes(data[position + 2 : position + 4], "big"), start + 2
        stop = start + length
        if stop > end:
            break
        words = (length + 3) >> 2
        key = int.from_bytes(data[start - 4 : start], "little") * REPEAT[words]
        masked = int.from_bytes(data[start:stop], "little")
        text = (masked ^ key).to_bytes(words << 2, "little")[:length].decode()
        payload = text.encode()
        size = bytes((length,)) if length < 126 else b"\x7e" + length.to_bytes(2, "big")
        replies.append(b"\x81" + size + payload)
        position = stop
    return b"".join(replies), data[position:]

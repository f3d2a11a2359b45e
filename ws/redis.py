"""RedisBackplane: servers that share a Redis, so that a message reaches the clients of all.

Over 400 lines, because the reader and the writer share the state that they are described with.

It needs the package redis: ``pip install threaded-ws[redis]``.
"""

from __future__ import annotations

import functools
import os
import random
import struct
import threading
import time
from collections import OrderedDict, deque
from typing import Any, Callable, Iterable

import redis  # type: ignore[import-not-found,unused-ignore]
from redis.backoff import NoBackoff  # type: ignore[import-not-found,unused-ignore]
from redis.retry import Retry  # type: ignore[import-not-found,unused-ignore]

from .backplane import Backplane, Messages
from .engine.log import logger

HEARTBEAT_SECONDS = 5.0
"""Time between two heartbeats. A node that misses three is no longer counted."""
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.05, 1.0
"""Time between two attempts to reach Redis: doubled each time, with up to half of it at random."""
BATCH_BYTES = 256 << 10
"""One round trip publishes at most this much, except that its last message may exceed it."""
BATCH_MESSAGES = 64
"""How many messages are delivered together at most."""
MAX_NODES = 1024
"""The number of the last message is kept for at most this many nodes."""
COUNTS_AT_ONCE = 1000
"""One command sends the counts of at most this many rooms. Redis does nothing else meanwhile."""

# Each node has a hash with the number of its clients in each room. It expires if it isn't updated,
# so nothing is left of a node that is killed. A set has the names of all hashes.
REGISTER = """
redis.call('HSET', KEYS[1], ARGV[2], 0)
redis.call('EXPIRE', KEYS[1], ARGV[1])
for _, key in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    if redis.call('EXISTS', key) == 0 then redis.call('SREM', KEYS[2], key) end
end
return 1
"""
"""Makes a node's hash, and forgets nodes that have ended."""
UPDATE = """
if redis.call('EXPIRE', KEYS[1], ARGV[1]) == 0 then return nil end
redis.call('SADD', KEYS[2], KEYS[1])
redis.call('EXPIRE', KEYS[2], ARGV[1])
for i = 2, #ARGV, 2 do
    if ARGV[i + 1] == '' then
        redis.call('HDEL', KEYS[1], ARGV[i])
    else
        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    end
end
return 1
"""
"""Keeps a node for some more time, and takes new counts. Returns nil if it has expired."""
PRESENCE = """
local total = 0
for _, key in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    if key ~= KEYS[1] then total = total + (redis.call('HGET', key, ARGV[1]) or 0) end
end
return total
"""
"""Adds up the clients of the other nodes."""


class RedisBackplane(Backplane):
    """Joins all servers that use the same Redis or Valkey (6.0 or newer) and the same prefix.

    One object belongs to one server, called a *node* here. Any thread may call any method. Only
    `presence` and `stop` block.

    Messages go by Redis pub/sub, so each reaches the clients of other nodes **at most once**. A
    Redis stream would cost more and promise no more: a server can't know what a vanished client
    has read (docs/scale.md). Messages of one thread reach each client in order. After a room's
    first client has joined on a node, the node gets the room's messages within about a
    millisecond.

    While Redis can't be reached, each node serves its own clients, and its messages for other
    nodes wait in a buffer. They are published one second after Redis is back, so that the other
    nodes can connect first. A node that isn't connected by then misses them. Clients that need
    every message must ask a history for those they missed, as in chat/.

    Args:
        url: redis://[user:password@]host:port/db, or rediss:// for TLS (?ssl_ca_certs=PATH names
            the authorities to trust), or unix://PATH. Anybody who can write to this Redis can
            send to all clients.
        prefix: All channels and keys begin with it and a colon. Servers with the same prefix are
            joined.
        buffer: Bytes that may wait for Redis. If more wait, the oldest messages are dropped. The
            newest one is kept, whatever its size.
        timeout: Seconds for Redis to accept a connection, to take a message, and to answer. After
            that, Redis counts as away.

    Raises:
        ValueError: The url isn't one of these, or buffer or timeout is not over 0.
    """

    def __init__(
        self, url: str, *, prefix: str = "ws", buffer: int = 8 << 20, timeout: float = 3.0
    ) -> None:
        if buffer <= 0 or timeout <= 0:
            raise ValueError("buffer and timeout must be over 0")
        self._prefix, self._buffer, self._timeout = prefix, buffer, timeout
        self._nodes = f"{prefix}:nodes".encode()
        connect: Callable[..., Any] = functools.partial(
            redis.Redis.from_url,
            url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            # One retry if this is no longer the primary. By default, it would block for seconds.
            retry=Retry(NoBackoff(), 1, (redis.ReadOnlyError,)),
        )
        self._redis: Any = connect()
        self._writer: Any = connect(redis_connect_func=self._connect_writer)
        self._may_connect = False  # whether the writer is beginning
        options = self._redis.connection_pool.connection_kwargs
        self._address = str(options.get("path") or f"{options.get('host')}:{options.get('port')}")
        self._name_node()
        self._deliver: Callable[[Messages], Any]
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()

        self.lock: Any = threading.RLock()
        self._changed = threading.Condition(self.lock)  # guards what follows
        self._queue: deque[tuple[bytes, bytes]] = deque()  # to publish: channel, message
        self._batch: list[tuple[bytes, bytes]] = []  # out of the queue, perhaps not published yet
        self._buffered = self._sequence = 0
        self._counts: dict[str | None, int] = {}  # this node's clients, by room
        self._uncounted: set[str | None] = set()  # rooms whose count Redis doesn't have yet
        self._key = b""  # of the hash that has our counts
        self._moved: set[str | None] = set()  # rooms that got their first client or lost their last
        self._unknown = False  # whether the reader has to be woken for them
        self._away = {"reader", "writer"}  # the threads that have no connection
        self._away_since: float | None = None  # when the loss of Redis was logged
        self._refusal = ""  # Redis's last answer to a command that it refused
        self._latency: float | None = None
        self._totals = dict.fromkeys(("published", "received", "dropped", "outages"), 0)
        self._last: OrderedDict[bytes, int] = (
            OrderedDict()
        )  # by node, the number of its last message; only the reader uses it

    def _name_node(self) -> None:
        self._pid = os.getpid()
        self._node = os.urandom(8)  # our id; each message begins with it
        self._own_channel = f"{self._prefix}:node:{self._node.hex()}".encode()

    # The contract

    def start(self, deliver: Callable[[Messages], Any]) -> None:
        self._deliver = deliver
        if self._pid != os.getpid():  # forked since then, and others may have been, too
            self._name_node()
        for role, work, client in (
            ("reader", self._read, self._redis),
            ("writer", self._write, self._writer),
        ):
            thread = threading.Thread(target=self._keep, args=(role, work, client), daemon=True)
            thread.name = f"ws-backplane-{role}"
            thread.start()
            self._threads.append(thread)

    def publish(self, room: str | None, message: bytes) -> None:
        with self._changed:
            self._sequence += 1
            head = self._node + struct.pack("!Q", self._sequence)
            self._queue.append((self._channel(room), head + message))
            self._buffered += len(head) + len(message)
            while self._buffered > self._buffer and len(self._queue) > 1:
                self._buffered -= len(self._queue.popleft()[1])
                self._totals["dropped"] += 1
            self._changed.notify()

    def count(self, room: str | None, clients: int) -> None:
        with self._changed:
            moved = bool(clients) != (room in self._counts)
            if clients:
                self._counts[room] = clients
            else:
                self._counts.pop(room, None)
            if moved and "reader" not in self._away:  # else it will look at all rooms
                self._moved.add(room)
                self._unknown = True
            if "writer" not in self._away:  # else it will send all counts
                self._uncounted.add(room)
                self._changed.notify()

    def presence(self, room: str | None) -> int:
        with self._changed:
            own, away, key = self._counts.get(room, 0), self._away, self._key
        if away:
            return own
        try:
            return own + int(self._redis.eval(PRESENCE, 2, key, self._nodes, self._name(room)))
        except (redis.RedisError, OSError) as error:
            if isinstance(error, redis.ResponseError):  # the threads notice all other errors
                self._complain(error)
            return own

    def stats(self) -> dict[str, Any]:
        """Return a snapshot of the state.

        Returns:
            state ("up" or "away"), latency (seconds to Redis and back, when last measured),
            buffered (bytes), published, received and dropped (messages), outages (how often
            Redis went away).
        """
        with self._changed:
            state = "away" if self._away else "up"
            now = {"state": state, "latency": self._latency, "buffered": self._buffered}
            return {**now, **self._totals}

    def stop(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        self._stopping.set()
        with self._changed:
            self._changed.notify()
        for thread in reversed(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        self._redis.close()
        self._writer.close()

    # Two threads, each with a connection of its own

    def _keep(self, role: str, work: Callable[[], None], client: Any) -> None:
        """Run *work* until `stop`. Start it again whenever the connection to Redis is lost."""
        pause = FIRST_RETRY_SECONDS
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                work()
            except Exception as error:  # redis-py raises more than its own errors
                self._lost(role, error)
                client.connection_pool.disconnect(inuse_connections=False)
                lasted = time.monotonic() - began > 10 * LONGEST_RETRY_SECONDS
                pause = FIRST_RETRY_SECONDS if lasted else min(2 * pause, LONGEST_RETRY_SECONDS)
                self._stopping.wait(pause * random.uniform(0.5, 1))

    def _lost(self, role: str, error: Exception) -> None:
        with self._changed:
            if self._stopping.is_set():
                return
            self._away.add(role)
            if role == "reader":  # the writer's connection is lost, too, or hangs
                self._away.add("writer")
                self._changed.notify()
            first, self._away_since = self._away_since is None, self._away_since or time.monotonic()
            self._totals["outages"] += first
        if first:
            message = "backplane: no Redis at %s (%s): messages reach only this node's clients"
            logger.warning(message, self._address, error)

    def _found(self, role: str) -> None:
        with self._changed:
            self._away.discard(role)
            if self._away or self._away_since is None:
                return
            seconds, self._away_since = time.monotonic() - self._away_since, None
        logger.warning("backplane: Redis at %s is back after %.1f s", self._address, seconds)

    def _complain(self, error: object) -> None:
        """Log that Redis refuses a command, unless its answer is the same as the last time."""
        if str(error) != self._refusal:
            self._refusal = str(error)
            logger.error("backplane: Redis at %s refuses: %s", self._address, error)

    def _write(self) -> None:
        """Publish messages, and send counts and heartbeats."""
        self._may_connect = True
        self._register()
        self._may_connect = False
        late = self._away_since is not None
        self._found("writer")
        due = time.monotonic() + HEARTBEAT_SECONDS
        while True:
            with self._changed:
                while not (self._batch or self._queue or self._uncounted or self._unknown):
                    wait = due - time.monotonic()
                    if wait <= 0 or self._stopping.is_set() or "writer" in self._away:
                        break
                    self._changed.wait(wait)
                if "writer" in self._away:
                    raise redis.ConnectionError("the reader has lost its connection")
                size = sum(len(message) for _, message in self._batch)
                while self._queue and size < BATCH_BYTES:
                    self._batch.append(self._queue.popleft())
                    size += len(self._batch[-1][1])
                counts = [(room, self._counts.get(room, 0)) for room in self._uncounted]
                self._uncounted.clear()
                moved, self._unknown = self._unknown, False
            if late or self._away_since is not None:  # let the other nodes come back first
                late = self._stopping.wait(LONGEST_RETRY_SECONDS)
            results = self._execute(("PUBLISH", *one) for one in self._batch)
            refused = sum(isinstance(result, Exception) for result in results)
            with self._changed:
                self._buffered -= size
                self._totals["dropped"] += refused
                self._totals["published"] += len(self._batch) - refused
                self._batch.clear()
                idle = not (self._queue or self._uncounted)
            updates = [
                self._update(counts[start : start + COUNTS_AT_ONCE])
                for start in range(0, len(counts), COUNTS_AT_ONCE)
            ]
            if self._stopping.is_set() and idle:
                end = (("DEL", self._key), ("SREM", self._nodes, self._key), self._wake())
                self._execute(end)
                return
            if moved or time.monotonic() >= due:
                due = time.monotonic() + HEARTBEAT_SECONDS
                updates += self._update([]), self._wake()
            if None in self._execute(updates):
                self._register()

    def _connect_writer(self, connection: Any) -> None:
        """Connect only when the writer begins.

        redis-py connects again without a word if it finds a connection closed. Messages that are
        published at once then would be lost for nodes whose reader isn't back yet.
        """
        if not self._may_connect:
            raise redis.ConnectionError("the connection was lost")
        connection.on_connect()

    def _register(self) -> None:
        """Take a new name, under which Redis has no counts yet, and have all counts sent."""
        key = f"{self._prefix}:counts:{os.urandom(8).hex()}".encode()
        arguments = key, self._nodes, self._lifetime(), self._name(None)
        self._execute([("EVAL", REGISTER, 2, *arguments)])
        with self._changed:  # in one step, or `count` misses what changes in between
            self._key = key
            self._uncounted = {None, *self._counts}
            self._away.discard("writer")

    def _update(self, counts: list[tuple[str | None, int]]) -> tuple[Any, ...]:
        """Return the command that is a heartbeat, and sends counts of rooms."""
        arguments: list[Any] = [self._key, self._nodes, self._lifetime()]
        for room, clients in counts:  # an empty room is removed; but a hash has to have some field
            arguments += self._name(room), clients if clients or room is None else ""
        return ("EVAL", UPDATE, 2, *arguments)

    def _lifetime(self) -> int:
        """Return after how many seconds without a heartbeat a node is no longer counted."""
        return int(3 * HEARTBEAT_SECONDS)  # defence: node-expiry

    def _wake(self) -> tuple[Any, ...]:
        """Return the command that wakes the reader, and lets it measure the latency of Redis."""
        return "PUBLISH", self._own_channel, struct.pack("!d", time.monotonic())

    def _execute(self, commands: Iterable[tuple[Any, ...]]) -> list[Any]:
        """Run commands in one round trip. Return their results, an exception for a refusal."""
        pipeline = self._writer.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        results: list[Any] = pipeline.execute(raise_on_error=False)
        for result in results:
            if isinstance(result, (redis.ConnectionError, redis.ReadOnlyError)):
                raise result  # it is loading its data, or no longer the primary
            if isinstance(result, Exception):
                self._complain(result)
        return results

    def _read(self) -> None:
        """Subscribe to the rooms of this node's clients, and deliver their messages."""
        subscribed: set[bytes] = set()
        arrived: Messages = []
        pubsub = self._redis.pubsub()
        try:
            pubsub.subscribe(self._own_channel)
            with self._changed:
                self._moved = {None, *self._counts}
            while not self._stopping.is_set():
                if len(arrived) == BATCH_MESSAGES or (
                    arrived and not pubsub.connection.can_read(0)
                ):
                    self._pass_on(arrived)
                # Not 0: redis-py then drops the connection if a message has come only in part.
                message = pubsub.get_message(timeout=HEARTBEAT_SECONDS + self._timeout)
                if message is None:
                    raise redis.TimeoutError("it is silent")
                channel, data = message["channel"], message["data"]
                if message["type"] == "message" and channel != self._own_channel:
                    if self._is_new(data):
                        arrived.append((self._room(channel), data[16:]))
                    continue
                if message["type"] == "message":
                    self._latency = time.monotonic() - struct.unpack("!d", data)[0]
                elif message["type"] != "subscribe" or channel != self._own_channel:
                    continue
                self._found("reader")
                with self._changed:
                    moved, self._moved = self._moved, set()
                    wanted = {room for room in moved if room is None or room in self._counts}
                new = {self._channel(room) for room in wanted} - subscribed
                old = {self._channel(room) for room in moved - wanted} & subscribed
                if new:
                    pubsub.subscribe(*new)
                if old:
                    pubsub.unsubscribe(*old)
                subscribed = (subscribed | new) - old
        finally:
            if arrived:
                self._pass_on(arrived)
            pubsub.close()

    def _is_new(self, data: bytes) -> bool:
        """Return False for this node's own messages, and for those that were published twice.

        A node publishes a message again if it doesn't know whether the first attempt succeeded.
        """
        node, number = data[:8], int.from_bytes(data[8:16], "big")
        if node == self._node or number <= self._last.get(node, 0):
            return False
        self._last[node] = number
        self._last.move_to_end(node)
        if len(self._last) > MAX_NODES:
            self._last.popitem(last=False)
        return True

    def _pass_on(self, arrived: Messages) -> None:
        self._totals["received"] += len(arrived)
        try:
            self._deliver(arrived)
        except Exception:
            logger.exception("backplane: messages can't be delivered")
        arrived.clear()

    # Names in Redis

    def _name(self, room: str | None) -> bytes:
        return b"all" if room is None else b"room:" + room.encode(errors="surrogatepass")

    def _channel(self, room: str | None) -> bytes:
        return self._prefix.encode() + b":" + self._name(room)

    def _room(self, channel: bytes) -> str | None:
        room = channel[len(self._channel("")) :].decode(errors="surrogatepass")
        return None if channel == self._channel(None) else room

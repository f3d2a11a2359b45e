"""The history and the people of all nodes, on Redis.

Everything that happens in a room is an event with a number. All events are in one stream, which
every node follows. So all clients see events in the same order, and a node that lost Redis
continues at the right event. A message enters its room's history in the same transaction, and under
the number of its event. So a client that reconnects to another node gets exactly the messages that
it missed, and then the new ones.

While Redis can't be reached, messages are refused with "store" and a time to try again. The page
then sends them again.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from pathlib import Path
from typing import Any, Callable

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from chat.protocol import Event
from chat.store import (
    PIECE_BYTES,
    ROW_BYTES,
    Bounds,
    Message,
    Page,
    Piece,
    Store,
    StoreError,
    StoreUnavailable,
    encode,
    file_id,
    file_size,
    page,
)

ON_REDIS = Bounds(message_bytes=128 << 20, file_bytes=256 << 20)
EVENT_BYTES = 32 << 20
"""Bytes of events that the stream keeps for nodes that were away: about 100,000 events."""
KNOWN_SECONDS = 24 * 3600
"""A message that is sent again within this time is recognized."""
TIMEOUT_SECONDS = 3.0
"""Redis counts as unavailable if it doesn't answer within this time."""
HEARTBEAT_SECONDS = 3.0
ALIVE_SECONDS = 12
"""A node without a heartbeat for this long counts as dead."""
BLOCK_MS = 1000
"""The longest wait for an event, after which a heartbeat may be due."""
RECONNECT_SECONDS = 0.5
"""The time between two tries to reach Redis."""

LUA = Path(__file__).with_name("lua")

OnEvent = Callable[[int, str, Event], None]


class RedisStore(Store):
    """What was said and who is there, on all nodes that use the same Redis and prefix.

    Args:
        url: A URL such as redis://localhost; see `redis.Redis.from_url`.
        prefix: All keys begin with it and a colon.
        bounds: How much is kept, of all nodes together.

    Raises:
        OSError: Redis can't be used when the store is made.
    """

    def __init__(self, url: str, prefix: str = "chat", bounds: Bounds = ON_REDIS) -> None:
        self._prefix, self._bounds = prefix + ":", bounds
        self._redis: Any = redis.Redis.from_url(
            url,
            # One retry, if this Redis is no longer the primary. The default retries would block.
            retry=Retry(NoBackoff(), 1, (redis.ReadOnlyError,)),
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
        )
        self._add = self._script("add")
        self._page = self._script("page")
        self._add_file = self._script("add_file")
        self._enter = self._script("enter")
        self._leave = self._script("leave")
        self._rename = self._script("rename")
        self._heartbeat = self._script("heartbeat")
        self._remove_node = self._script("remove_node")
        self._node = secrets.token_hex(8)
        self._unavailable = False
        self._left: set[str] = set()  # clients that left while Redis was unavailable
        self._silent: set[str] = set()  # nodes that were silent at the last heartbeat
        self._closed = threading.Event()
        self._follower: threading.Thread | None = None
        try:
            self.history, self._seq, _ = self._beat()
        except redis.RedisError as error:
            raise OSError(f"can't use Redis: {error}")

    def _script(self, name: str) -> Callable[..., Any]:
        """Return a function that runs a script of the folder lua/ with these arguments."""
        source = "".join((LUA / f"{part}.lua").read_text("utf-8") for part in ("common", name))
        script = self._redis.register_script(source)
        return lambda *arguments: script(args=(self._prefix, EVENT_BYTES, ROW_BYTES, *arguments))

    # What is kept

    def add(self, room: str, message: Message) -> tuple[Message, bool]:
        identity = f"{message['from']}:{message['id']}"
        bounds = self._bounds.message_bytes, KNOWN_SECONDS  # defence: chat-redis-messages
        seq, body, new = self._try(self._add, room, identity, encode(message)[0], *bounds)
        return {"seq": seq, **json.loads(body)}, bool(new)

    def after(self, room: str, seq: int, count: int, size: int) -> Page:
        return self._last(room, "+", f"({seq}", count, size)

    def before(self, room: str, seq: int, count: int, size: int) -> Page:
        return self._last(room, f"({seq}-0", "-", count, size)

    def _last(self, room: str, highest: str, lowest: str, count: int, size: int) -> Page:
        # defence: chat-redis-page
        rows = self._try(self._page, room, highest, lowest, count, size)
        return page(((_number(key), body, len(body)) for key, body in rows), count, size)

    def add_file(self, content: bytes | bytearray) -> str:
        file, size = file_id(content), file_size(content)
        most = self._bounds.file_bytes  # defence: chat-redis-files
        self._try(self._add_file, file, bytes(content), size, most)
        return file

    def piece(self, file: str, start: int) -> Piece | None:
        def get() -> list[Any]:
            with self._redis.pipeline(transaction=False) as pipeline:
                key = f"{self._prefix}file:{file}"
                pipeline.strlen(key)
                pipeline.getrange(key, start, start + PIECE_BYTES - 1)  # defence: chat-redis-piece
                return list(pipeline.execute())

        size, content = self._try(get)
        return Piece(content, size) if size else None

    # Who is there

    def enter(
        self, room: str, client: str, person: dict[str, str]
    ) -> tuple[int, list[dict[str, str]]]:
        """Put a client of this node into a room.

        Returns:
            The number of the event that tells this, and the people of the other clients.
        """
        seq, people = self._try(self._enter, self._node, client, room, json.dumps(person))
        return seq, [json.loads(other) for other in people]

    def leave(self, client: str) -> None:
        """Remove a client of this node from its room; if Redis is unavailable, later."""
        try:
            self._try(self._leave, self._node, client)
        except StoreError:
            self._left.add(client)

    def rename(self, room: str, person: dict[str, str]) -> None:
        """Change the name of a person in a room."""
        self._try(self._rename, room, json.dumps(person))

    # What happens

    def follow(self, on_event: OnEvent, on_gap: Callable[[], None]) -> None:
        """Start to follow the stream of events, in a thread.

        Args:
            on_event: is called with the number, the room and the event, in order.
            on_gap: is called when events may be missing: they are no longer kept, Redis has
                another history, or the other nodes have taken this one for dead.
        """
        self._follower = threading.Thread(
            target=self._follow, args=(on_event, on_gap), name="chat-follower", daemon=True
        )
        self._follower.start()

    def close(self) -> None:
        """Remove this node, and its clients from their rooms."""
        self._closed.set()
        if self._follower:
            self._follower.join(TIMEOUT_SECONDS)
        try:
            self._try(self._remove_node, self._node, "alive too")
        except StoreError:
            pass
        self._redis.close()

    def _follow(self, on_event: OnEvent, on_gap: Callable[[], None]) -> None:
        due = time.monotonic() + HEARTBEAT_SECONDS
        while not self._closed.is_set():
            try:
                if self._unavailable or time.monotonic() >= due:
                    due = time.monotonic() + HEARTBEAT_SECONDS
                    self._catch_up(on_gap)
                streams = {f"{self._prefix}events": self._seq}
                for _, rows in self._redis.xread(streams, count=1000, block=BLOCK_MS) or ():
                    for key, row in rows:
                        seq = _number(key)
                        if seq != self._seq + 1:
                            on_gap()
                        self._seq = seq
                        on_event(seq, row[b"room"].decode(), json.loads(row[b"event"]))
            except redis.RedisError as error:
                if not self._unavailable:
                    logging.warning("no Redis (%s): messages are refused until it is back", error)
                self._unavailable = True
                self._closed.wait(RECONNECT_SECONDS)
            except Exception:
                logging.exception("an event could not be handled")

    def _catch_up(self, on_gap: Callable[[], None]) -> None:
        """Send a heartbeat, and do the work that had to wait for Redis."""
        history, seq, known = self._beat()
        if self._unavailable:
            logging.warning("Redis is back")
            self._unavailable = False
        if history != self.history or not known:
            self.history, self._seq = history, seq
            on_gap()
        for client in list(self._left):
            self._left.discard(client)
            self.leave(client)  # which adds it again if Redis is away by now

    def _beat(self) -> tuple[str, int, bool]:
        """Send a heartbeat, and remove nodes that send none.

        Returns:
            The history's id, the last event's number, and whether the others know this node.
        """
        history, seq, unknown, silent = self._heartbeat(
            self._node, ALIVE_SECONDS, secrets.token_hex(8)
        )
        for node in self._silent.intersection(silent):  # it gave none at the last look either
            self._remove_node(node)
        self._silent = set(silent)
        return history.decode(), seq, not unknown

    def _try(self, command: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Return what a command of Redis returns. Raises StoreError."""
        if self._unavailable:
            raise StoreUnavailable
        try:
            return command(*arguments, **options)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise StoreUnavailable(str(error))
        except redis.RedisError as error:
            raise StoreError(str(error))


def _number(key: bytes) -> int:
    """Return the event's number in a key of a stream, as b"17-0"."""
    return int(key.split(b"-")[0])

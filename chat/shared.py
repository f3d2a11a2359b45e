"""One chat on many nodes: the history, who is there, and what happens are in Redis.

All that happens in a room is an event with a number, in one stream that every node follows; so
all clients see it in the same order, and a node that lost Redis goes on where it was. A message is
in its room's history under the same number, from the moment that it is in the stream: a client that
comes back to another node gets what it missed, and then what follows.

While Redis is away, messages are refused with "store" and a time to try again, which the page does.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import threading
import time
from typing import Any, Callable, Mapping

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from chat.room import Chat, Member
from chat.store import Away, StoreError

EVENTS = 100_000
"""What the stream keeps, for nodes that were away; about so many, as for the next."""
MESSAGES = 10_000
"""What a room's history keeps."""
DAYS = 30
"""So long rooms without messages, and files, are kept."""
REPEATS = 24 * 3600
"""Seconds in which a message that is sent again is still known."""
TIMEOUT = 3.0
"""Seconds in which Redis must answer; then it counts as away."""
HEARTBEAT, ALIVE = 3.0, 12
"""Seconds between a node's signs of life; after how many without one it is taken for dead."""
WAIT = 1000
"""Milliseconds that a node waits for an event before it looks around."""
PAUSE = 0.5
"""Seconds between two tries to reach Redis."""

# KEYS are left out: all of a chat is on one Redis. ARGV[1] is the prefix of its keys.
HEAD = """
local prefix, kept = ARGV[1], EVENTS
local function tell(room, event)
    local seq = redis.call('INCR', prefix .. 'seq')
    redis.call('XADD', prefix .. 'events', 'MAXLEN', '~', kept, seq, 'room', room, 'event', event)
    return seq
end
local function about(kind, person)
    return '{"type": "' .. kind .. '", "person": ' .. person .. '}'
end
local function clients(room, person, change) -- of a person
    local key, id = prefix .. 'clients:' .. room, cjson.decode(person)['id']
    local number = redis.call('HINCRBY', key, id, change)
    if number == 0 then redis.call('HDEL', key, id) end
    return number
end
local function leave(node, client)
    local room = redis.call('HGET', prefix .. 'at:' .. node, client)
    if not room then return end
    local key, field = prefix .. 'people:' .. room, node .. '/' .. client
    local person = redis.call('HGET', key, field)
    redis.call('HDEL', prefix .. 'at:' .. node, client)
    redis.call('HDEL', key, field)
    if person and clients(room, person, -1) == 0 then
        tell(room, about('leave', person))
    end
end
""".replace("EVENTS", str(EVENTS))
ADD = """
local room, id, body, messages, seconds, repeats = unpack(ARGV, 2)
local said, history = prefix .. 'said:' .. id, prefix .. 'room:' .. room
local seq = redis.call('GET', said)
if seq then
    local found = redis.call('XRANGE', history, seq, seq)
    return {tonumber(seq), found[1] and found[1][2][2] or body, 0}
end
seq = tell(room, body)
redis.call('XADD', history, 'MAXLEN', '~', messages, seq, 'body', body)
redis.call('EXPIRE', history, seconds)
redis.call('SET', said, seq, 'EX', repeats)
return {seq, body, 1}
"""
ENTER = """
local node, client, room, person = unpack(ARGV, 2)
local others = redis.call('HVALS', prefix .. 'people:' .. room)
local kind = clients(room, person, 1) > 1 and 'rename' or 'join'
redis.call('HSET', prefix .. 'people:' .. room, node .. '/' .. client, person)
redis.call('HSET', prefix .. 'at:' .. node, client, room)
return {tell(room, about(kind, person)), others}
"""
LEAVE = "leave(ARGV[2], ARGV[3])"
RENAME = """
local room, person = ARGV[2], ARGV[3]
local key, id = prefix .. 'people:' .. room, cjson.decode(person)['id']
local all = redis.call('HGETALL', key)
for i = 1, #all, 2 do
    if cjson.decode(all[i + 1])['id'] == id then redis.call('HSET', key, all[i], person) end
end
tell(room, about('rename', person))
"""
BEAT = """
local node, alive, new = unpack(ARGV, 2)
redis.call('SET', prefix .. 'alive:' .. node, '1', 'EX', alive)
redis.call('SET', prefix .. 'history', new, 'NX')
local known, silent = redis.call('SADD', prefix .. 'nodes', node), {}
for _, other in ipairs(redis.call('SMEMBERS', prefix .. 'nodes')) do
    if redis.call('EXISTS', prefix .. 'alive:' .. other) == 0 then table.insert(silent, other) end
end
local seq = tonumber(redis.call('GET', prefix .. 'seq') or '0')
return {redis.call('GET', prefix .. 'history'), seq, known, silent}
"""
BURY = """
local node = ARGV[2]
if redis.call('EXISTS', prefix .. 'alive:' .. node) == 1 and not ARGV[3] then return end
redis.call('SREM', prefix .. 'nodes', node)
redis.call('DEL', prefix .. 'alive:' .. node)
for _, client in ipairs(redis.call('HKEYS', prefix .. 'at:' .. node)) do leave(node, client) end
"""

Hear = Callable[[int, str, "dict[str, Any]"], None]


class RedisStore:
    """What was said and who is there, on all nodes that use the same Redis and *prefix*.

    It does as `chat.store.Store`, and raises OSError if there is no Redis at the start.
    """

    def __init__(self, url: str, prefix: str = "chat") -> None:
        self._prefix = prefix + ":"
        patient = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}
        # Once more where this is no longer the primary; else it would block for seconds.
        again = Retry(NoBackoff(), 1, (redis.ReadOnlyError,))
        self._redis = redis.Redis.from_url(url, retry=again, **patient)
        self._scripts = {
            text: self._redis.register_script(HEAD + text)
            for text in (ADD, ENTER, LEAVE, RENAME, BEAT, BURY)
        }
        self._node = secrets.token_hex(8)
        self._away = False
        self._left: set[str] = set()  # clients that left while Redis was away
        self._silent: set[str] = set()  # nodes that gave no sign of life at the last look
        self._closed = threading.Event()
        self._follower: threading.Thread | None = None
        try:
            self.history, self._seq, _ = self._beat()
        except redis.RedisError as error:
            raise OSError(f"can't use Redis: {error}")

    # What is kept

    def add(self, room: str, message: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        identity = f"{message['from']}:{message['id']}"
        bounds = MESSAGES, DAYS * 86400, REPEATS
        seq, body, new = self._run(ADD, room, identity, json.dumps(message), *bounds)
        return {"seq": seq, **json.loads(body)}, bool(new)

    def after(self, room: str, seq: int, count: int) -> list[dict[str, Any]]:
        return self._last(room, "+", f"({seq}", count)

    def before(self, room: str, seq: int, count: int) -> list[dict[str, Any]]:
        return self._last(room, f"({seq}-0", "-", count)

    def _last(self, room: str, highest: str, lowest: str, count: int) -> list[dict[str, Any]]:
        history = f"{self._prefix}room:{room}"
        rows = self._ask(self._redis.xrevrange, history, highest, lowest, count=count)
        return [
            {"seq": int(key.split(b"-")[0]), **json.loads(row[b"body"])}
            for key, row in reversed(rows)
        ]

    def add_file(self, data: bytes) -> str:
        name = hashlib.sha256(data).hexdigest()
        self._ask(self._redis.set, f"{self._prefix}file:{name}", data, ex=DAYS * 86400)
        return name

    def file(self, name: str) -> bytes | None:
        content: bytes | None = self._ask(self._redis.get, f"{self._prefix}file:{name}")
        return content

    # Who is there

    def enter(self, room: str, client: str, person: Mapping[str, str]) -> tuple[int, list[Any]]:
        """Take a client in; return the event's number, and who else is there."""
        seq, people = self._run(ENTER, self._node, client, room, json.dumps(person))
        return seq, [json.loads(other) for other in people]

    def leave(self, client: str) -> None:
        """Let a client go, at the latest when Redis is back."""
        try:
            self._run(LEAVE, self._node, client)
        except StoreError:
            self._left.add(client)

    def rename(self, room: str, person: Mapping[str, str]) -> None:
        self._run(RENAME, room, json.dumps(person))

    # What happens

    def follow(self, hear: Hear, restart: Callable[[], None]) -> None:
        """Call ``hear(seq, room, event)`` for each event, in order.

        Call restart() where that can't go on: events are missing, or Redis has another history,
        or the other nodes have taken this one for dead.
        """
        self._follower = threading.Thread(target=self._follow, args=(hear, restart), daemon=True)
        self._follower.name = "chat-follower"
        self._follower.start()

    def close(self) -> None:
        """Let the node go, and its clients with it."""
        self._closed.set()
        if self._follower:
            self._follower.join(TIMEOUT)
        try:
            self._run(BURY, self._node, "at once")
        except StoreError:
            pass
        self._redis.close()

    def _follow(self, hear: Hear, restart: Callable[[], None]) -> None:
        due = time.monotonic() + HEARTBEAT
        while not self._closed.is_set():
            try:
                if self._away or time.monotonic() >= due:
                    due = time.monotonic() + HEARTBEAT
                    self._look_around(restart)
                streams = {f"{self._prefix}events": self._seq}
                for _, rows in self._redis.xread(streams, count=1000, block=WAIT) or ():
                    for key, row in rows:
                        seq = int(key.split(b"-")[0])
                        if seq != self._seq + 1:
                            restart()
                        self._seq = seq
                        hear(seq, row[b"room"].decode(), json.loads(row[b"event"]))
            except redis.RedisError as error:
                if not self._away:
                    logging.warning("no Redis (%s): messages have to wait", error)
                self._away = True
                self._closed.wait(PAUSE)
            except Exception:
                logging.exception("an event went wrong")

    def _look_around(self, restart: Callable[[], None]) -> None:
        history, seq, known = self._beat()
        if self._away:
            logging.warning("Redis is back")
            self._away = False
        if history != self.history or not known:
            self.history, self._seq = history, seq
            restart()
        for client in list(self._left):
            self.leave(client)
            self._left.discard(client)

    def _beat(self) -> tuple[str, int, bool]:
        arguments = (self._prefix, self._node, ALIVE, secrets.token_hex(8))
        history, seq, new, silent = self._scripts[BEAT](args=arguments)
        for node in self._silent.intersection(silent):  # for the second time
            self._scripts[BURY](args=(self._prefix, node))
        self._silent = set(silent)
        return history.decode(), seq, not new

    def _run(self, script: str, *arguments: Any) -> Any:
        return self._ask(self._scripts[script], args=(self._prefix, *arguments))

    def _ask(self, command: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if self._away:
            raise Away
        try:
            return command(*arguments, **options)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise Away(str(error))
        except redis.RedisError as error:
            raise StoreError(str(error))


class SharedChat(Chat):
    """The rooms of all nodes, of which some clients are here."""

    _store: RedisStore  # type: ignore[assignment]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._keys = 0
        self._store.follow(self._hear, self._restart)

    def _hear(self, seq: int, room: str, event: dict[str, Any]) -> None:
        """Pass an event on to those whose welcome it isn't in."""
        message = event["type"] == "message"
        event = {"seq": seq, **event} if message else event
        with self._lock:
            if event["type"] == "rename":
                self._call(room, event["person"])
            members = [
                member
                for member in self._rooms.get(room, {}).values()
                if seq > (max(member.seen, member.entered) if message else member.entered)
            ]
            self._send_to(members, event)

    def _restart(self) -> None:
        """Let all clients come back, to get what they missed."""
        logging.warning("the thread of events is lost: all clients have to connect again")
        for client in self._server.clients:
            self._server.close(client, 1012, "connect again")

    def _add(self, room: str, message: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        return self._store.add(room, message)

    def _arrive(self, member: Member, seen: int | None, hello: Mapping[str, Any]) -> None:
        self._keys += 1
        key = member.client.data["key"] = str(self._keys)
        try:
            entered, others = self._store.enter(member.room, key, member.public())
            self._greet(member, seen, hello, others)
        except StoreError:
            self._store.leave(key)
            raise
        member.entered = entered

    def _depart(self, member: Member) -> None:
        self._store.leave(member.client.data["key"])

    def _set_name(self, room: str, person: dict[str, str]) -> None:
        self._store.rename(room, person)

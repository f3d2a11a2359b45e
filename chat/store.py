"""The history, messages and files, and where it is kept: in SQLite, in memory or in a file."""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import threading
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Iterator

Message = Dict[str, Any]

PIECE_BYTES = 128 << 10
"""The size of a piece of a file, as it is fetched. Messages to the client wait for it."""


class StoreError(Exception):
    """An operation of the store failed, for example because the disk is full."""


class StoreUnavailable(StoreError):
    """The store can't be reached at the moment. This has been logged."""


@dataclass(frozen=True)
class Page:
    """Messages of a room, in order."""

    messages: list[Message]
    more: bool
    """Whether there are others between those and where the search began."""


@dataclass(frozen=True)
class Piece:
    """A part of a file, at most PIECE_BYTES; empty after the file's end."""

    content: bytes
    size: int
    """Bytes of the whole file."""


class Store(ABC):
    """Messages and files; any thread may call.

    A message is a dict with at least "from" and "id", which together identify it. The store gives
    each message a sequence number "seq", which grows within a room. All methods but `close` may
    raise StoreError.
    """

    history: str
    """The history's id. Sequence numbers of different histories can't be compared."""

    @abstractmethod
    def add(self, room: str, message: Message) -> tuple[Message, bool]:
        """Store a message, unless it is there already.

        Returns:
            The stored message with its "seq", and whether it is new.
        """

    @abstractmethod
    def after(self, room: str, seq: int, count: int, size: int) -> Page:
        """Return the last messages of those after *seq*: at most *count*, and about *size* bytes.

        A page has at least one message, if there is one.
        """

    @abstractmethod
    def before(self, room: str, seq: int, count: int, size: int) -> Page:
        """Return the last messages of those before *seq*, as `after` does."""

    @abstractmethod
    def add_file(self, content: bytes | bytearray) -> str:
        """Store a file, and return its id. Anybody who knows the id can get the file."""

    @abstractmethod
    def piece(self, file: str, start: int) -> Piece | None:
        """Return the piece of a file that begins at a byte, or None if the file isn't kept.

        It may end before PIECE_BYTES, and isn't empty before the file's end.
        """

    @abstractmethod
    def close(self) -> None:
        """Release what the store uses."""


@dataclass(frozen=True)
class Bounds:
    """How much is kept of all rooms together.

    Of messages, the room that has the most loses its oldest; so a flood in one room leaves the
    others alone. Of files, the oldest is deleted.
    """

    message_bytes: int
    file_bytes: int


IN_MEMORY = Bounds(message_bytes=16 << 20, file_bytes=64 << 20)
ON_DISK = Bounds(message_bytes=1 << 30, file_bytes=1 << 30)
ROW_BYTES = 256
"""What a message takes in addition to its text, about. This bounds the number of messages."""
MIN_FILE_BYTES = 1 << 10
"""A smaller file counts as one of this size, which bounds the number of files."""


def encode(message: Message) -> tuple[str, int]:
    """Return a message as it is stored, and the bytes that it counts."""
    body = json.dumps(message, ensure_ascii=False)
    return body, len(body.encode()) + ROW_BYTES


def page(rows: Iterable[tuple[int, str, int]], count: int, size: int) -> Page:
    """Return a page of what `encode` has made; the rows, from the last on, end in its size."""
    taken: list[Message] = []
    for seq, body, body_size in rows:
        size -= body_size
        if len(taken) == count or (size < 0 and taken):
            return Page(taken[::-1], more=True)
        taken.append({"seq": seq, **json.loads(body)})
    return Page(taken[::-1], more=False)


def file_id(content: bytes | bytearray) -> str:
    return hashlib.sha256(content).hexdigest()


def file_size(content: bytes | bytearray) -> int:
    """Return the bytes that a file counts."""
    return max(len(content), MIN_FILE_BYTES)


APPLICATION_ID = 0x63686174  # "chat"; a database of another program has a different one

VERSION = 2

SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
CREATE TABLE IF NOT EXISTS history (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    room TEXT NOT NULL, person TEXT NOT NULL, id TEXT NOT NULL,
    body TEXT NOT NULL, size INTEGER NOT NULL,
    UNIQUE (person, id)
);
CREATE INDEX IF NOT EXISTS of_room ON messages (room, seq);
CREATE TABLE IF NOT EXISTS rooms (room TEXT PRIMARY KEY, size INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS of_size ON rooms (size DESC);
CREATE TABLE IF NOT EXISTS files (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE, bytes INTEGER NOT NULL, size INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS pieces (
    file INTEGER NOT NULL, start INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (file, start)
);
"""
"""`rooms` has the size of each room's messages, `pieces` the contents of files. `size` is what
counts against the bounds."""

FROM_VERSION_0 = f"""
ALTER TABLE files RENAME TO whole;
{SCHEMA}
UPDATE messages SET size = size + {ROW_BYTES};
INSERT INTO rooms SELECT room, sum(size) FROM messages GROUP BY room;
INSERT INTO files SELECT seq, id, length(data), size FROM whole;
WITH RECURSIVE starts (start) AS (
    SELECT 0 UNION ALL
    SELECT start + {PIECE_BYTES} FROM starts
    WHERE start < (SELECT coalesce(max(length(data)), 0) FROM whole)
)
INSERT INTO pieces SELECT seq, start, substr(data, start + 1, {PIECE_BYTES}) FROM whole, starts
    WHERE start < length(data);
DROP TABLE whole;
"""
"""In version 0, files were whole."""


class SQLiteStore(Store):
    """A history for one process.

    Args:
        path: the database file; None keeps the history in memory.
        bounds: by default IN_MEMORY or ON_DISK.

    Raises:
        OSError: the database can't be used.
    """

    def __init__(self, path: str | None = None, bounds: Bounds | None = None) -> None:
        self._bounds = bounds or (ON_DISK if path else IN_MEMORY)
        self._lock = threading.Lock()  # one transaction at a time
        try:
            self._db = sqlite3.connect(path or ":memory:", timeout=0, check_same_thread=False)
            self.history = self._prepare()
        except sqlite3.Error as error:
            raise OSError(f"can't use {path}: {error}")

    def _prepare(self) -> str:
        """Create or check the tables; return the history's id."""
        db = self._db
        # One process per file: another one would not notice what this one stores.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        ours = db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
        if not ours and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise sqlite3.DatabaseError("it is another program's database")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")  # committed data survives a SIGKILL
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise sqlite3.DatabaseError("a newer version of this program has made it")
        old = ours and version < VERSION
        db.executescript(f"BEGIN; {FROM_VERSION_0 if old else SCHEMA} COMMIT;")
        with db:
            if not db.execute("SELECT count(*) FROM history").fetchone()[0]:
                db.execute("INSERT INTO history VALUES (?)", (secrets.token_hex(8),))
        self._measure()
        return str(db.execute("SELECT id FROM history").fetchone()[0])

    def _measure(self) -> None:
        count = "SELECT coalesce(sum(size), 0) FROM "
        self._used = {
            table: self._db.execute(count + table).fetchone()[0] for table in ("rooms", "files")
        }

    def add(self, room: str, message: Message) -> tuple[Message, bool]:
        key = message["from"], message["id"]
        with self._transaction() as db:
            query = "SELECT seq, body FROM messages WHERE person = ? AND id = ?"
            found = db.execute(query, key).fetchone()
            if found:
                return {"seq": found[0], **json.loads(found[1])}, False
            body, size = encode(message)
            insert = "INSERT INTO messages (room, person, id, body, size) VALUES (?, ?, ?, ?, ?)"
            seq = db.execute(insert, (room, *key, body, size)).lastrowid
            self._grow(room, size)
            while self._used["rooms"] > self._bounds.message_bytes:
                self._delete_message()
            return {"seq": seq, **message}, True

    def _grow(self, room: str, size: int) -> None:
        """Note that the messages of a room have so many bytes more, or fewer."""
        grow = "UPDATE rooms SET size = size + ? WHERE room = ?"
        if not self._db.execute(grow, (size, room)).rowcount:
            self._db.execute("INSERT INTO rooms VALUES (?, ?)", (room, size))
        if size < 0:
            self._db.execute("DELETE FROM rooms WHERE room = ? AND size <= 0", (room,))
        self._used["rooms"] += size

    def _delete_message(self) -> None:
        """Delete the oldest message of the room that has the most."""
        # defence: chat-largest-room
        largest = "SELECT room FROM rooms ORDER BY size DESC, rowid LIMIT 1"
        (room,) = self._db.execute(largest).fetchone()
        oldest = "SELECT seq, size FROM messages WHERE room = ? ORDER BY seq LIMIT 1"
        seq, size = self._db.execute(oldest, (room,)).fetchone()
        self._db.execute("DELETE FROM messages WHERE seq = ?", (seq,))
        self._grow(room, -size)

    def after(self, room: str, seq: int, count: int, size: int) -> Page:
        return self._last("seq > ?", room, seq, count, size)

    def before(self, room: str, seq: int, count: int, size: int) -> Page:
        return self._last("seq < ?", room, seq, count, size)

    def _last(self, condition: str, room: str, seq: int, count: int, size: int) -> Page:
        columns = f"seq, body, size - {ROW_BYTES}"
        query = f"SELECT {columns} FROM messages WHERE room = ? AND {condition} ORDER BY seq DESC"
        with self._transaction() as db:
            # Reads no further than is asked for.
            return page(db.execute(query, (room, seq)), count, size)

    def add_file(self, content: bytes | bytearray) -> str:
        file, size = file_id(content), file_size(content)
        with self._transaction() as db:
            if db.execute("SELECT 1 FROM files WHERE id = ?", (file,)).fetchone():
                return file
            insert = "INSERT INTO files (id, bytes, size) VALUES (?, ?, ?)"
            seq = db.execute(insert, (file, len(content), size)).lastrowid
            view = memoryview(content)
            starts = range(0, len(content), PIECE_BYTES)
            pieces = [(seq, start, view[start : start + PIECE_BYTES]) for start in starts]
            db.executemany("INSERT INTO pieces VALUES (?, ?, ?)", pieces)
            self._used["files"] += size
            while self._used["files"] > self._bounds.file_bytes:  # defence: chat-files
                oldest = "SELECT seq, size FROM files ORDER BY seq LIMIT 1"
                number, freed = db.execute(oldest).fetchone()
                db.execute("DELETE FROM files WHERE seq = ?", (number,))
                db.execute("DELETE FROM pieces WHERE file = ?", (number,))
                self._used["files"] -= freed
        return file

    def piece(self, file: str, start: int) -> Piece | None:
        with self._transaction() as db:
            row = db.execute("SELECT seq, bytes FROM files WHERE id = ?", (file,)).fetchone()
            if not row:
                return None
            at = start - start % PIECE_BYTES
            query = "SELECT data FROM pieces WHERE file = ? AND start = ?"
            piece = db.execute(query, (row[0], at)).fetchone()
            return Piece(piece[0][start - at :] if piece else b"", row[1])

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                with self._db as db:
                    yield db
            except sqlite3.Error as error:
                try:
                    self._measure()  # the rollback doesn't undo what the transaction counted
                except sqlite3.Error:
                    pass
                raise StoreError(str(error))

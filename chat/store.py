"""The history, messages and files, and where it is kept: in SQLite, in memory or in a file."""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import sys
import threading
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Dict, Iterator

Message = Dict[str, Any]


class StoreError(Exception):
    """An operation of the store failed, for example because the disk is full."""


class StoreUnavailable(StoreError):
    """The store can't be reached at the moment. This has been logged."""


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
    def after(self, room: str, seq: int, count: int) -> list[Message]:
        """Return the last *count* messages of those after *seq*, in order."""

    @abstractmethod
    def before(self, room: str, seq: int, count: int) -> list[Message]:
        """Return the last *count* messages of those before *seq*, in order."""

    @abstractmethod
    def add_file(self, content: bytes) -> str:
        """Store a file, and return its id. Anybody who knows the id can get the file."""

    @abstractmethod
    def file(self, file: str) -> bytes | None:
        """Return the content of the file with this id, or None if it isn't kept any more."""

    @abstractmethod
    def close(self) -> None:
        """Release what the store uses."""


@dataclass(frozen=True)
class Bounds:
    """How much is kept of all rooms together; the oldest messages and files are deleted first."""

    messages: int
    message_bytes: int
    file_bytes: int


IN_MEMORY = Bounds(messages=10_000, message_bytes=16 << 20, file_bytes=64 << 20)
ON_DISK = Bounds(messages=1_000_000, message_bytes=1 << 30, file_bytes=1 << 30)
MIN_FILE_BYTES = 1 << 10
"""A smaller file counts as one of this size, which bounds the number of files."""

APPLICATION_ID = 0x63686174  # "chat"; a database of another program has a different one

SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
CREATE TABLE IF NOT EXISTS history (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    room TEXT NOT NULL, person TEXT NOT NULL, id TEXT NOT NULL,
    body TEXT NOT NULL, size INTEGER NOT NULL,
    UNIQUE (person, id)
);
CREATE INDEX IF NOT EXISTS of_room ON messages (room, seq);
CREATE TABLE IF NOT EXISTS files (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE, data BLOB NOT NULL, size INTEGER NOT NULL
);
"""


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
        db.executescript(SCHEMA)
        with db:
            if not db.execute("SELECT count(*) FROM history").fetchone()[0]:
                db.execute("INSERT INTO history VALUES (?)", (secrets.token_hex(8),))
        self._measure()
        return str(db.execute("SELECT id FROM history").fetchone()[0])

    def _measure(self) -> None:
        count = "SELECT count(*), coalesce(sum(size), 0) FROM "
        self._used = {t: self._db.execute(count + t).fetchone() for t in ("messages", "files")}

    def add(self, room: str, message: Message) -> tuple[Message, bool]:
        key = message["from"], message["id"]
        with self._transaction() as db:
            query = "SELECT seq, body FROM messages WHERE person = ? AND id = ?"
            found = db.execute(query, key).fetchone()
            if found:
                return _message(found), False
            body = json.dumps(message)
            row = {"room": room, "person": key[0], "id": key[1], "body": body, "size": len(body)}
            seq = self._insert("messages", row, self._bounds.message_bytes, self._bounds.messages)
            return _message((seq, body)), True

    def after(self, room: str, seq: int, count: int) -> list[Message]:
        return self._last("seq > ?", room, seq, count)

    def before(self, room: str, seq: int, count: int) -> list[Message]:
        return self._last("seq < ?", room, seq, count)

    def _last(self, condition: str, room: str, seq: int, count: int) -> list[Message]:
        query = f"SELECT seq, body FROM messages WHERE room = ? AND {condition}"
        with self._transaction() as db:
            rows = db.execute(query + " ORDER BY seq DESC LIMIT ?", (room, seq, count)).fetchall()
            return [_message(row) for row in reversed(rows)]

    def add_file(self, content: bytes) -> str:
        file = hashlib.sha256(content).hexdigest()
        with self._transaction() as db:
            if not db.execute("SELECT 1 FROM files WHERE id = ?", (file,)).fetchone():
                row = {"id": file, "data": content, "size": max(len(content), MIN_FILE_BYTES)}
                self._insert("files", row, self._bounds.file_bytes)
        return file

    def file(self, file: str) -> bytes | None:
        with self._transaction() as db:
            row = db.execute("SELECT data FROM files WHERE id = ?", (file,)).fetchone()
            return bytes(row[0]) if row else None

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

    def _insert(
        self, table: str, row: dict[str, Any], max_bytes: int, max_rows: int = sys.maxsize
    ) -> int:
        """Insert a row and delete the oldest as the bounds ask; return its number."""
        columns, marks = ", ".join(row), ", ".join("?" * len(row))
        insert = f"INSERT INTO {table} ({columns}) VALUES ({marks})"
        seq = self._db.execute(insert, tuple(row.values())).lastrowid
        rows, size = self._used[table]
        rows, size = rows + 1, size + row["size"]
        while rows > max_rows or size > max_bytes:
            oldest = f"SELECT seq, size FROM {table} ORDER BY seq LIMIT 1"
            number, freed = self._db.execute(oldest).fetchone()
            self._db.execute(f"DELETE FROM {table} WHERE seq = ?", (number,))
            rows, size = rows - 1, size - freed
        self._used[table] = rows, size
        return int(seq or 0)


def _message(row: tuple[int, str]) -> Message:
    return {"seq": row[0], **json.loads(row[1])}

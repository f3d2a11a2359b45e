"""The history: messages and files, in SQLite; in memory, unless a file is named."""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Iterator

APPLICATION_ID = 0x63686174  # "chat", so that another program's database is left alone

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


class StoreError(Exception):
    """The store can't do it now: the disk is full, say."""


class Away(StoreError):
    """Nor could it for a while, which has been logged."""


@dataclass(frozen=True)
class Bounds:
    """What is kept at most, in all rooms together; beyond, the oldest goes."""

    messages: int
    message_bytes: int
    file_bytes: int


IN_MEMORY = Bounds(messages=10_000, message_bytes=16 << 20, file_bytes=64 << 20)
ON_DISK = Bounds(messages=1_000_000, message_bytes=1 << 30, file_bytes=1 << 30)
LEAST_SIZE = 1 << 10
"""Bytes that a file counts for, at least."""


class Store:
    """What was said, in order.

    A message is a dict with at least "from" and "id", which together no other has, and gets a
    "seq", which grows within a room. From another `history`, sequence numbers mean nothing.
    Any thread may call. Raises OSError if the database can't be used, StoreError later.
    """

    history: str

    def __init__(self, path: str | None = None, bounds: Bounds | None = None) -> None:
        self._bounds = bounds or (ON_DISK if path else IN_MEMORY)
        self._lock = threading.Lock()  # one transaction at a time
        try:
            self._db = sqlite3.connect(path or ":memory:", timeout=0, check_same_thread=False)
            self.history = self._prepare()
        except sqlite3.Error as error:
            raise OSError(f"can't use {path}: {error}")

    def _prepare(self) -> str:
        """Make or check the tables; return the history's identity."""
        db = self._db
        # One process a file: another would not hear of what this one stores.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        ours = db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
        if not ours and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise sqlite3.DatabaseError("it is another program's database")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")  # what is committed survives a SIGKILL
        db.executescript(SCHEMA)
        with db:
            if not db.execute("SELECT count(*) FROM history").fetchone()[0]:
                db.execute("INSERT INTO history VALUES (?)", (secrets.token_hex(8),))
        self._measure()
        return str(db.execute("SELECT id FROM history").fetchone()[0])

    def _measure(self) -> None:
        count = "SELECT count(*), coalesce(sum(size), 0) FROM "
        self._used = {t: self._db.execute(count + t).fetchone() for t in ("messages", "files")}

    def add(self, room: str, message: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """Store a message unless it is there already; return it numbered, and whether it is new."""
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

    def after(self, room: str, seq: int, count: int) -> list[dict[str, Any]]:
        """Return the last *count* messages of those after *seq*, in order."""
        return self._last("seq > ?", room, seq, count)

    def before(self, room: str, seq: int, count: int) -> list[dict[str, Any]]:
        """Return the last *count* messages of those before *seq*, in order."""
        return self._last("seq < ?", room, seq, count)

    def _last(self, condition: str, *values: Any) -> list[dict[str, Any]]:
        query = f"SELECT seq, body FROM messages WHERE room = ? AND {condition}"
        with self._transaction() as db:
            rows = db.execute(query + " ORDER BY seq DESC LIMIT ?", values).fetchall()
            return [_message(row) for row in reversed(rows)]

    def add_file(self, data: bytes) -> str:
        """Store a file; return its id, by which anyone can have it."""
        name = hashlib.sha256(data).hexdigest()
        with self._transaction() as db:
            if not db.execute("SELECT 1 FROM files WHERE id = ?", (name,)).fetchone():
                row = {"id": name, "data": data, "size": max(len(data), LEAST_SIZE)}
                self._insert("files", row, self._bounds.file_bytes)
        return name

    def file(self, name: str) -> bytes | None:
        """Return a file, or None if it isn't kept any more."""
        with self._transaction() as db:
            row = db.execute("SELECT data FROM files WHERE id = ?", (name,)).fetchone()
            return bytes(row[0]) if row else None

    def close(self) -> None:
        """Let go of the database."""
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
                    self._measure()  # what was counted is undone
                except sqlite3.Error:
                    pass
                raise StoreError(str(error))

    def _insert(
        self, table: str, row: dict[str, Any], most_bytes: int, most_rows: int = sys.maxsize
    ) -> int:
        """Insert a row and let the oldest go as the bounds ask; return its number."""
        columns, marks = ", ".join(row), ", ".join("?" * len(row))
        insert = f"INSERT INTO {table} ({columns}) VALUES ({marks})"
        seq = self._db.execute(insert, tuple(row.values())).lastrowid
        rows, size = self._used[table]
        rows, size = rows + 1, size + row["size"]
        while rows > most_rows or size > most_bytes:
            oldest = f"SELECT seq, size FROM {table} ORDER BY seq LIMIT 1"
            number, freed = self._db.execute(oldest).fetchone()
            self._db.execute(f"DELETE FROM {table} WHERE seq = ?", (number,))
            rows, size = rows - 1, size - freed
        self._used[table] = rows, size
        return int(seq or 0)


def _message(row: tuple[int, str]) -> dict[str, Any]:
    return {"seq": row[0], **json.loads(row[1])}

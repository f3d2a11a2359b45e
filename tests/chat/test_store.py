"""The history in SQLite: its bounds, full disks, files that aren't databases, SIGKILL."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys

import pytest

from chat.store import APPLICATION_ID, PIECE_BYTES, ROW_BYTES, Bounds, Piece, SQLiteStore
from tests.chat.processes import chatting, refused
from tests.chat.talker import Talker


@pytest.fixture(params=["in memory", "on disk"])
def small(request, tmp_path):
    """A history with room for about ten short messages, or four small files."""
    bounds = Bounds(message_bytes=10 * (ROW_BYTES + 100), file_bytes=5000)
    path = None if request.param == "in memory" else str(tmp_path / "chat.db")
    history = SQLiteStore(path, bounds)
    yield history
    history.close()


def say(history, text, room="lobby"):
    message = {"from": "ann", "id": os.urandom(4).hex(), "text": text}
    return history.add(room, message)[0]["seq"]


def kept(history, room="lobby"):
    return [message["text"] for message in history.after(room, 0, 100, 1 << 20).messages]


def test_the_history_is_bounded(small):
    numbers = [say(small, text) for text in "abcdefghijklm"]
    assert "".join(kept(small)) in "cdefghijklm"
    assert len(kept(small)) >= 10
    say(small, "x" * 2500)
    assert kept(small)[:-1] in ([], ["l"], ["m"], ["l", "m"])
    say(small, "y" * 2500)
    assert kept(small) == ["y" * 2500]
    assert say(small, "z") > numbers[-1]


def test_a_flood_in_one_room_deletes_nothing_in_others(small):
    for text in "abc":
        say(small, text, "quiet")
    for text in range(1000):
        say(small, str(text), "flooded")
    say(small, "y" * 1500, "flooded")
    assert kept(small, "quiet") == ["a", "b", "c"]
    assert kept(small, "flooded")[-2:] == ["999", "y" * 1500]
    for number in range(20):
        say(small, "x", f"room {number}")
    assert kept(small, "quiet") == [], "of many small rooms, all lose their oldest"
    assert kept(small, "room 19") == ["x"]


def test_files_are_bounded(small):
    files = [small.add_file(bytes([n]) * 2000) for n in range(3)]
    assert [small.piece(file, 0) is None for file in files] == [True, False, False]
    tiny = [small.add_file(bytes([n])) for n in range(10)]
    assert sum(small.piece(file, 0) is not None for file in tiny) == 4


def test_a_page_is_bounded(small):
    seqs = [say(small, text * 100) for text in "abcdef"]

    def page(count, size, before=1 << 40):
        page = small.before("lobby", before, count, size)
        return "".join(message["text"][0] for message in page.messages), page.more

    assert page(100, 1 << 20) == ("abcdef", False)
    assert page(6, 1 << 20) == ("abcdef", False)
    assert page(5, 1 << 20) == ("bcdef", True)
    assert page(100, 350) == ("ef", True)
    assert page(100, 0) == ("f", True), "one at least"
    assert page(100, 0, seqs[0]) == ("", False)
    assert small.after("lobby", seqs[3], 100, 1 << 20).more is False
    assert [m["seq"] for m in small.after("lobby", seqs[2], 2, 1 << 20).messages] == seqs[4:]


def test_files_are_fetched_in_pieces(small):
    content = os.urandom(4500)
    file = small.add_file(bytearray(content))
    assert small.piece(file, 0) == Piece(content, 4500)
    assert small.piece(file, 4499) == Piece(content[-1:], 4500)
    assert small.piece(file, 4500) == small.piece(file, 1 << 50) == Piece(b"", 4500)
    assert small.piece("0" * 64, 0) is None


OLD = f"""
PRAGMA application_id = {APPLICATION_ID};
CREATE TABLE history (id TEXT NOT NULL);
INSERT INTO history VALUES ('story');
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    room TEXT NOT NULL, person TEXT NOT NULL, id TEXT NOT NULL,
    body TEXT NOT NULL, size INTEGER NOT NULL,
    UNIQUE (person, id)
);
CREATE INDEX of_room ON messages (room, seq);
INSERT INTO messages VALUES (7, 'lobby', 'ann', '1', '{{"from": "ann", "text": "hello"}}', 32);
CREATE TABLE files (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE, data BLOB NOT NULL, size INTEGER NOT NULL
);
"""


def test_a_history_of_an_earlier_version(tmp_path):
    path, content = str(tmp_path / "chat.db"), os.urandom(PIECE_BYTES * 2 + 5)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(OLD)
        db.execute("INSERT INTO files VALUES (3, 'large', ?, ?)", (content, len(content)))
        db.execute("INSERT INTO files VALUES (4, 'small', ?, 1024)", (b"x",))
        db.commit()
    for _ in range(2):  # it is converted once
        history = SQLiteStore(path)
        assert history.history == "story"
        assert history.after("lobby", 0, 10, 1000).messages == [
            {"seq": 7, "from": "ann", "text": "hello"}
        ]
        starts = range(0, len(content), PIECE_BYTES)
        pieces = [history.piece("large", start) for start in starts]
        assert b"".join(piece.content for piece in pieces) == content
        assert history.piece("small", 0) == Piece(b"x", 1)
        history.close()
    history = SQLiteStore(path, Bounds(message_bytes=ROW_BYTES + 100, file_bytes=len(content)))
    say(history, "new")
    assert kept(history) == ["new"], "the old one counts"
    new = history.add_file(b"y")
    assert (history.piece("large", 0), history.piece(new, 0)) == (None, Piece(b"y", 1))
    history.close()


def test_a_history_of_a_later_version_is_left_alone(tmp_path):
    path = tmp_path / "chat.db"
    SQLiteStore(str(path)).close()
    with contextlib.closing(sqlite3.connect(str(path))) as db:
        db.execute("PRAGMA user_version = 99")
    assert "newer version" in refused(0, "--db", path)


def test_history_outlives_a_sigkill(tmp_path):
    db = tmp_path / "chat.db"
    content = os.urandom(1000)
    with chatting(0, "--db", db) as process:
        with Talker(process.port, "Ann") as ann:
            said = [ann.say(str(number), str(number)) for number in range(10)]
            ann.send_file(content, id="file", name="cat.png")
            image = ann.get("message")
            process.kill()
            process.wait()
        history = ann.welcome["history"]
    seen = said[4]["seq"]
    with chatting(0, "--db", db) as process, Talker(
        process.port, history=history, seen=seen
    ) as ann:
        assert ann.welcome["resumed"] is True
        assert ann.welcome["messages"] == [*said[5:], image]
        assert ann.fetch_file(image["file"]["id"]) == content
        assert ann.say("9", "9") == said[9]
        assert ann.say("on", "10")["seq"] > image["seq"]


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit(2)")
def test_a_full_disk_loses_nothing_silently(tmp_path):
    import resource

    with chatting(0, "--db", tmp_path / "chat.db") as process, Talker(process.port) as ann:
        before = ann.say("before", "1")
        soft, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1, hard))
        ann.send("say", text="lost?", id="2")
        error = ann.recv()
        assert (error["code"], error["id"]) == ("store", "2")
        assert error["retry"] > 0
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (soft, hard))
        after = ann.say("lost?", "2")
        with Talker(process.port, "Bob") as bob:
            assert bob.welcome["messages"] == [before, after]


@pytest.mark.parametrize("kind", ["text", "another", "folder", "missing folder"])
def test_a_path_that_can_be_no_database(tmp_path, kind):
    path = tmp_path / "x.db"
    if kind == "text":
        path.write_text("This is no database, whatever its name may say. " * 30)
    elif kind == "another":
        with contextlib.closing(sqlite3.connect(str(path))) as db:
            db.execute("CREATE TABLE messages (mine)")
    elif kind == "folder":
        path.mkdir()
    else:
        path = path / "chat.db"
    assert f"can't use {path}: " in refused(0, "--db", path)


def test_a_database_that_is_in_use(tmp_path):
    db = tmp_path / "chat.db"
    with chatting(0, "--db", db):
        assert f"can't use {db}: " in refused(0, "--db", db)

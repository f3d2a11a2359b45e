"""The history in SQLite: its bounds, full disks, files that aren't databases, SIGKILL."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys

import pytest

from chat.store import Bounds, SQLiteStore
from tests.chat.processes import chatting, refused
from tests.chat.talker import Talker


def test_the_history_is_bounded(tmp_path):
    bounds = Bounds(messages=3, message_bytes=1000, file_bytes=5000)
    for path in (None, str(tmp_path / "chat.db")):
        history = SQLiteStore(path, bounds)

        def say(text, history=history):
            message = {"from": "ann", "id": os.urandom(4).hex(), "text": text}
            return history.add("lobby", message)[0]["seq"]

        def kept(history=history):
            return [message["text"] for message in history.after("lobby", 0, 10)]

        numbers = [say(text) for text in "abcd"]
        assert kept() == ["b", "c", "d"]
        say("x" * 880)
        assert kept() == ["d", "x" * 880]
        say("y" * 880)
        assert kept() == ["y" * 880]
        assert say("z") > numbers[-1]
        files = [history.add_file(bytes([n]) * 2000) for n in range(3)]
        assert [history.file(file) is None for file in files] == [True, False, False]
        tiny = [history.add_file(bytes([n])) for n in range(10)]
        assert sum(history.file(file) is not None for file in tiny) == 4
        history.close()


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

"""The chat's protocol as tables: how requests are read, and how their fields are cleaned."""

from __future__ import annotations

import json

import pytest

from chat import fields, protocol
from chat.protocol import GetFile, Hello, Older, Refused, Rename, Say, SendFile


def read(message):
    """Return what a message asks for."""
    asked, content = protocol.decode(message)
    return protocol.REQUESTS[asked["type"]].read(asked, content)


def text(kind, **fields):
    return json.dumps({"type": kind, **fields})


def file(content, **fields):
    return json.dumps({"type": "file", **fields}).encode() + b"\n" + content


@pytest.mark.parametrize(
    ("message", "asked"),
    [
        (
            text("hello", id="1", room="tea", name="Ann", key="k", history="h", seen=3),
            Hello(id="1", room="tea", name="Ann", key="k", history="h", seen=3),
        ),
        (
            text("hello", key="k"),
            Hello(id="", room="lobby", name="", key="k", history=None, seen=None),
        ),
        (text("say", id="1", text="hello"), Say("1", "hello")),
        (text("rename", name=" Ann "), Rename("Ann")),
        (text("older", before=7), Older(7)),
        (text("get", file="f", start=9), GetFile("f", 9)),
        (text("get", file="f", start=-1), GetFile("f", 0)),
        (text("get"), GetFile("", 0)),
        (file(b"a\nb", id="1", name="x"), SendFile("1", "x", 0, 0, 3, 0, b"a\nb")),
        (
            file(b"a", id="1", name="x", width=3, height=10**9),
            SendFile("1", "x", 3, protocol.MAX_IMAGE_PIXELS, 1, 0, b"a"),
        ),
        (file(b"ab", id="1", start=5, size=7), SendFile("1", "file", 0, 0, 7, 5, b"ab")),
        (text("say", id="a" * 65_000, text="x"), Say("a" * fields.MAX_ID_CHARS, "x")),
    ],
)
def test_what_a_message_asks_for(message, asked):
    assert read(message) == asked


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (text("say", text=""), "empty"),
        (text("say", text="\n\t "), "empty"),
        (text("say", text="\x1b\x00"), "empty"),
        (text("say", text=5), "empty"),
        (text("say", text="x" * (protocol.MAX_TEXT_CHARS + 1)), "long"),
        (text("say", text="\x1b" * 60_000), "long"),
        ("x" * (protocol.MAX_TEXT_CHARS + 1), "long"),
        ("[" * 60_000, "long"),
        (text("rename", name=" "), "name"),
        (text("older"), "older"),
        (text("older", before=1 << 53), "older"),
        (file(b""), "size"),
        (file(b"", size=0), "size"),
        (file(b"x", size=protocol.MAX_FILE_BYTES + 1), "size"),
        (file(b"x", size="1"), "size"),
        (file(b"", size=1), "piece"),
        (file(b"xy", size=1), "piece"),
        (file(b"xy", size=5, start=4), "piece"),
        (b"", "file"),
        (b"\n", "file"),
        (b"{}\nx", "file"),
        (b'{"type": "say"}\nx', "file"),
        (b" " * protocol.MAX_HEADER_BYTES + file(b"x"), "file"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_why_a_message_is_refused(message, code):
    with pytest.raises(Refused) as refused:
        read(message)
    assert (refused.value.code, refused.value.retry_seconds) == (code, 0)


@pytest.mark.parametrize(
    "message",
    [
        "just text",
        "[1, 2]",
        "{no JSON",
        '{"type": "unknown"}',
        '{"type": ["say"]}',
        '{"text": "no type"}',
        '{"type": "file"}',
        "{" * 3000,
        "9" * 4000,
    ],
)
def test_text_that_is_no_request_is_said_as_it_stands(message):
    assert read(message).text == message


def test_a_request_without_id_or_key_gets_one_that_nobody_can_guess():
    ids = {read("hello").id for _ in range(10)} | {read(file(b"x")).id for _ in range(10)}
    keys = {read(text("hello")).key for _ in range(10)}
    assert len(ids) == 20 and min(map(len, ids)) >= 16
    assert len(keys) == 10 and min(map(len, keys)) >= 32


@pytest.mark.parametrize("kind", protocol.REQUESTS)
def test_every_request_has_its_cost(kind):
    assert 0 < protocol.REQUESTS[kind].COST <= 1


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("  Ann \n Lee ", "Ann Lee"),
        ("\x1b[31mAnn\x00", "[31mAnn"),
        ("nnA\u202e\u2066", "nnA"),
        ("A\u200b\ufeffnn", "Ann"),
        ("\ud800", ""),
        ("\u200d", ""),
        ("", ""),
        (None, ""),
        ("👩\u200d💻", "👩\u200d💻"),
        ("שרה", "שרה"),
        ("x" * 41, "x" * 40),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_name_is_one_short_line_of_what_can_be_seen(name, shown):
    assert fields.clean_name(name) == shown


MESSAGE = {"type": "message", "seq": 1, "id": "1", "from": "a", "name": "Ann", "time": 0}
ANN = {"id": "a", "name": "Ann"}


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({**MESSAGE, "text": "hello"}, "Ann: hello"),
        ({**MESSAGE, "text": "two\nlines"}, "Ann: two\n  lines"),
        ({**MESSAGE, "file": {"name": "notes.txt"}}, "Ann: [notes.txt]"),
        ({"type": "join", "person": ANN}, "* Ann joined"),
        ({"type": "leave", "person": ANN}, "* Ann left"),
        ({"type": "error", "text": "Wait a moment."}, "* Not sent: Wait a moment."),
        ({"type": "rename", "person": ANN}, ""),
        ({"type": "pong"}, ""),
    ],
)
def test_what_plain_clients_get(event, line):
    assert protocol.encode_line(event) == line


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"id": "7"}, {"id": "7"}),
        ({"file": "f", "id": ""}, {"file": "f"}),
        ({"id": "\x00" + "a" * 65_000}, {"id": "a" * (fields.MAX_ID_CHARS - 1)}),
        ({"id": 7}, {}),
        ({}, {}),
    ],
)
def test_an_error_names_its_request(asked, named):
    event = protocol.error_event(Refused("slow", "Wait.", 0.26), asked)
    assert event == {"type": "error", "code": "slow", "text": "Wait.", "retry": 0.3, **named}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"\0\0\0\x20ftypavif", "image/avif"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
        (b"<!doctype html><script>alert(1)</script>", None),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"%PDF-1.7", None),
        (b"\0", None),
    ],
)
def test_only_known_images_are_images(content, kind):
    assert fields.file_type(content) == (kind or "application/octet-stream")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("cat.png", "cat.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\evil.exe", "evil.exe"),
        ("gpj.\u202eexe", "gpj.exe"),
        ("a\x00b\n.txt", "ab .txt"),
        ('<"|?*:>.txt', "_______.txt"),
        (".bashrc", "bashrc"),
        ("name. . ", "name"),
        ("..", "file"),
        ("", "file"),
        (None, "file"),
        ("x" * 200 + ".jpeg", "x" * 80 + ".jpeg"),
        ("x" * 200, "x" * 100),
        ("a." + "x" * 200, "a." + "x" * 19),
    ],
)
def test_a_file_name_is_safe(name, safe):
    assert fields.file_name(name) == safe

"""How the fields of a request are cleaned: ids, names, numbers, files."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

MAX_NAME_CHARS = 40
"""The name of a person or of a room."""
MAX_ID_CHARS = 64
"""The id of a message, and a key."""
MAX_FILE_NAME_CHARS = 100
MAX_EXTENSION_CHARS = 19

IMAGE_TYPES = (
    ("image/png", 0, b"\x89PNG\r\n\x1a\n"),
    ("image/jpeg", 0, b"\xff\xd8\xff"),
    ("image/gif", 0, b"GIF8"),
    ("image/webp", 8, b"WEBP"),
    ("image/avif", 4, b"ftypavif"),
)
"""The files that pages show: type, offset and bytes found there. Others can be downloaded."""

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]+")
"""What Unicode calls control characters, but for LF and tab, and lone surrogates."""


def string(value: Any) -> str:
    """Return a field that should be text; '' for anything else."""
    return value if isinstance(value, str) else ""


def clean(text: str) -> str:
    """Return text without control characters and lone surrogates."""
    return _CONTROLS.sub("", text.replace("\r\n", "\n"))  # defence: chat-clean


def clean_id(text: Any) -> str:
    """Return an id or a key, cut to its maximum length."""
    return clean(string(text)[:MAX_ID_CHARS])  # defence: chat-id-length


def clean_name(name: Any) -> str:
    """Return a name in one line, without invisible characters such as those that turn text."""
    joiners = "\u200c\u200d"  # scripts and emoji need them
    name = clean(string(name)[: 4 * MAX_NAME_CHARS])  # defence: chat-name-length
    visible = (c for c in name if c in joiners or unicodedata.category(c) != "Cf")
    return " ".join("".join(visible).split())[:MAX_NAME_CHARS].strip(" " + joiners)


def safe_integer(number: Any) -> int | None:
    """Return an integer that JavaScript and SQLite can represent, from 0 up, or None."""
    return number if isinstance(number, int) and 0 <= number < 1 << 53 else None


def file_name(name: Any) -> str:
    """Return a name that is safe to save under, in any folder of any system."""
    name = clean(string(name)[-4 * MAX_FILE_NAME_CHARS :]).replace("\\", "/").rpartition("/")[2]
    name = "".join("_" if c in '<>:"|?*' else c for c in name if unicodedata.category(c) != "Cf")
    stem, dot, extension = " ".join(name.split()).strip(". ").rpartition(".")
    if dot:
        stem = stem[: MAX_FILE_NAME_CHARS - MAX_EXTENSION_CHARS - 1]
        extension = extension[:MAX_EXTENSION_CHARS]
    return (stem + dot + extension)[:MAX_FILE_NAME_CHARS] or "file"


def file_type(content: bytes | bytearray) -> str:
    """Return the type of an image that is safe to show, or that of a download."""
    for kind, offset, magic in IMAGE_TYPES:
        if content.startswith(magic, offset):
            return kind
    return "application/octet-stream"

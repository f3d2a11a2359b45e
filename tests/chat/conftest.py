"""Chats for tests: in this process, and without flood control."""

from __future__ import annotations

import contextlib

import pytest

from chat import credits, member
from chat.room import Chat
from chat.server import make_server
from chat.store import SQLiteStore


@pytest.fixture
def serve():
    """Start a chat in this process: `serve(store)`."""
    with contextlib.ExitStack() as stack:

        def serve(store=None):
            store = store or SQLiteStore()
            stack.callback(store.close)
            server = make_server("127.0.0.1", 0)
            Chat(server, store)
            return stack.enter_context(server)

        yield serve


@pytest.fixture
def running(serve):
    return serve()


@pytest.fixture
def unhurried(monkeypatch, serve):
    """A chat without flood control."""
    monkeypatch.setattr(member, "MAX_CREDITS", 1e9)
    for name in ("WORK_CREDITS", "TEXT_BYTES", "FILE_BYTES", "FETCHED_BYTES"):
        monkeypatch.setattr(credits, name, 1e12)
    return serve()

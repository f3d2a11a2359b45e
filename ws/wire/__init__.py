"""Bytes and events, as pure functions and state machines: no socket, clock, thread or log line."""

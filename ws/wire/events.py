"""All kinds of events that a connection has to handle, in one table.

An event is a pair (kind, payload). An event of a kind without a flag is handled by a callback,
which may block.

    kind             payload          what has happened
    TEXT             str              a text message is complete
    BINARY           bytes            a binary message is complete
    PING             bytes            a ping came, which wants a pong (RFC 6455 §5.5.2)
    PONG             bytes            a pong came (RFC 6455 §5.5.3)
    CLOSE            (code, reason)   the peer sent its close frame (RFC 6455 §5.5.1)
    PROTOCOL_ERROR   (code, reason)   the peer broke the protocol (RFC 6455 §7.1.7)
    YIELD_TURN       ''               nothing, but parsing took long: others should have a turn
    REQUEST          Request          a request head is complete, and is to be checked
    ASK_ONREQUEST    Request          it is in order, and is to be accepted or refused
    OPENED           None             the WebSocket is open
    CONNECTION_LOST  None             TCP has ended without a closing handshake
"""

from __future__ import annotations

from typing import Any, Tuple

URGENT = 0x20
"""Flag of the kinds that need no callback. The leader handles them at once."""
BARRIER = 0x40
"""Flag of the kinds that stop parsing: it continues when the event has been handled."""
WATCHED = 0x80
"""Flag of the kinds of barriers during which it is noticed if the peer leaves."""

TEXT = 0x1
BINARY = 0x2
PING = URGENT | 0x9
PONG = URGENT | 0xA
CLOSE = BARRIER | 0x8
PROTOCOL_ERROR = BARRIER | 0x10
YIELD_TURN = URGENT | 0x11
REQUEST = URGENT | 0x12
ASK_ONREQUEST = BARRIER | WATCHED | 0x13
OPENED = 0x14
CONNECTION_LOST = BARRIER | 0x15

LAST_MESSAGE = BINARY
"""Kinds up to this one are messages."""

Event = Tuple[int, Any]
"""(kind, payload), see the table."""

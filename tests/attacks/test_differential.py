"""The same bytes to `wsproto` and to `websockets`: all three have to understand the same.

Where they don't, the difference is a rule here, with its reason.
"""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given, settings

from tests.support.frames import BINARY, CLOSE, CONT, TEXT
from tests.support.model import KINDS
from tests.support.streams import shown, streams
from ws.wire.events import PROTOCOL_ERROR
from ws.wire.protocol import Protocol

DATA = (TEXT, BINARY)
MAX_SIZE = 1 << 20


def ours(stream):
    return shown(Protocol(MAX_SIZE, 1 << 17).feed(stream))


def assembled(frames):
    """Yield the events that frames mean, each (opcode, payload, whether it is the last)."""
    kind, message = None, b""
    for opcode, payload, last in frames:
        if opcode not in (CONT, *DATA):
            yield KINDS[opcode], payload
            continue
        kind = kind or opcode  # wsproto gives each fragment its message's opcode
        message += payload
        if last:
            try:
                yield kind, message.decode() if kind == TEXT else message
            except UnicodeDecodeError:
                yield PROTOCOL_ERROR, 1007
                return
            kind, message = None, b""


def understood_by_wsproto(stream):
    from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

    protocol = FrameProtocol(client=False, extensions=[])
    frames = []
    try:
        protocol.receive_bytes(stream)
        for got in protocol.received_frames():
            opcode, payload = got.opcode, got.payload
            if opcode is Opcode.CLOSE:
                frames.append((CLOSE, (int(payload[0]), payload[1] or ""), True))
                break
            payload = payload.encode() if isinstance(payload, str) else bytes(payload)
            frames.append((int(opcode), payload, got.message_finished))
    except ParseFailed as error:
        return [*assembled(frames), (PROTOCOL_ERROR, int(error.code))]
    return list(assembled(frames))


def understood_by_websockets(stream):
    from websockets.frames import Close
    from websockets.protocol import OPEN
    from websockets.server import ServerProtocol

    protocol = ServerProtocol(state=OPEN, max_size=MAX_SIZE)
    protocol.receive_data(stream)
    frames = []
    for got in protocol.events_received():
        payload = bytes(got.data)
        if got.opcode == CLOSE:
            close = Close.parse(payload)
            payload = int(close.code), close.reason
        frames.append((int(got.opcode), payload, got.fin))
    events = list(assembled(frames))
    # A close frame inside a fragmented message is allowed by §5.4, and answered (Autobahn's 7.1.5).
    assume("incomplete fragmented message" not in str(protocol.parser_exc))
    if protocol.parser_exc is not None and (PROTOCOL_ERROR, 1007) not in events:
        events.append((PROTOCOL_ERROR, int(protocol.close_code or 1006)))
    return events


REST = bytes(MAX_SIZE)
"""Completes any frame that isn't too long; others find some faults only in complete frames."""


def compare(stream, understand):
    events = ours(stream)
    if not events or events[-1][0] != PROTOCOL_ERROR:
        assert understand(stream) == events
        return
    code, theirs = events.pop()[1], understand(stream + REST)
    if code == 1007:  # websockets checks text once it is complete
        theirs = theirs[: len(events)]
    else:
        assert theirs.pop()[0] == PROTOCOL_ERROR
    assert theirs == events


@settings(max_examples=500)
@given(streams())
def test_wsproto(stream):
    pytest.importorskip("wsproto")
    compare(stream, understood_by_wsproto)


@settings(max_examples=500)
@given(streams())
@example(b"\x00\xfe\x80\x00" + bytes(15))  # a long frame that others must see the end of
def test_websockets(stream):
    pytest.importorskip("websockets")
    compare(stream, understood_by_websockets)

"""websocket-client."""

import json
import struct
import sys

from websocket import ABNF, WebSocketConnectionClosedException, create_connection

trust = {"ca_certs": sys.argv[1]}


def say(**what):
    print(json.dumps(what), flush=True)


def talk(url):
    socket = create_connection(url, sslopt=trust, subprotocols=["other", "interop"])
    say(open=socket.getsubprotocol())
    code, reason = 1006, ""
    while True:
        try:
            opcode, data = socket.recv_data(control_frame=True)
        except WebSocketConnectionClosedException:
            break
        if opcode == ABNF.OPCODE_CLOSE:
            code, reason = struct.unpack("!H", data[:2])[0], data[2:].decode()
        elif opcode == ABNF.OPCODE_PONG:
            socket.send("pong")
        elif data == b"/fragments":
            socket.send_frame(ABNF.create_frame("one, ", ABNF.OPCODE_TEXT, fin=0))
            socket.send_frame(ABNF.create_frame("two, ", ABNF.OPCODE_CONT, fin=0))
            socket.send_frame(ABNF.create_frame("three", ABNF.OPCODE_CONT, fin=1))
        elif data == b"/ping":
            socket.ping()
        elif data == b"/close":
            socket.close(4001, b"over")
            code, reason = 4001, "over"
        elif opcode in (ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY):
            socket.send(data, opcode)
    say(closed=code, reason=reason)


for line in sys.stdin:
    talk(line.strip())

"""libcurl, by curl_cffi."""

import json
import sys

from curl_cffi import CurlWsFlag, Session, WebSocketClosed


def say(**what):
    print(json.dumps(what), flush=True)


def talk(session, url):
    socket = session.ws_connect(url, headers={"Sec-WebSocket-Protocol": "other, interop"})
    say(open=None)
    try:
        while True:
            data, flags = socket.recv()
            if data == b"/fragments":
                socket.send(b"one, ", CurlWsFlag.TEXT | CurlWsFlag.CONT)
                socket.send(b"two, ", CurlWsFlag.TEXT | CurlWsFlag.CONT)
                socket.send(b"three", CurlWsFlag.TEXT)
            elif data == b"/close":
                socket.close(4001, b"over")
                break
            elif not flags & CurlWsFlag.CLOSE:
                socket.send(data, flags & (CurlWsFlag.TEXT | CurlWsFlag.BINARY))
    except WebSocketClosed:
        pass
    say(closed=socket.close_code, reason=socket.close_reason)


with Session(verify=sys.argv[1]) as session:
    for line in sys.stdin:
        talk(session, line.strip())

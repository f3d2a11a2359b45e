"""The application for servers of ASGI, which has neither fragments nor pings."""

import json


def say(**what):
    print(json.dumps(what), flush=True)


async def app(scope, receive, send):
    if scope["type"] != "websocket":
        raise NotImplementedError(scope["type"])
    await receive()
    chosen = "interop" if "interop" in scope["subprotocols"] else None
    await send({"type": "websocket.accept", "subprotocol": chosen})
    say(open=chosen)
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            break
        if event.get("text") == "/close":
            await send({"type": "websocket.close", "code": 4001, "reason": "over"})
        else:
            kind = "bytes" if event.get("text") is None else "text"
            await send({"type": "websocket.send", kind: event[kind]})
    say(closed=event["code"], reason=event.get("reason"))

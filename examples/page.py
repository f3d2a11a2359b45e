"""A page and a health check on the port of the WebSocket."""

from __future__ import annotations

from ws import Request, Response, WSServer

PAGE = """<!doctype html>
<title>Echo</title>
<input autofocus>
<ul></ul>
<script>
const socket = new WebSocket(location.href.replace("http", "ws"));
socket.onmessage = event => {
  document.querySelector("ul").append(Object.assign(
    document.createElement("li"), {textContent: event.data}));
};
document.querySelector("input").onchange = event => socket.send(event.target.value);
</script>
"""

server = WSServer(port=8000)
server.onmessage(server.send)


@server.onrequest
def respond(request: Request) -> Response | None:
    if request.is_upgrade:
        return None
    if request.path == "/":
        return Response(200, PAGE, content_type="text/html; charset=utf-8")
    if request.path == "/health":
        return Response(200, f"{len(server.clients)} clients\n")
    return Response(404, "not found\n")


server.run()

// Deno's own server.
const say = (what: object) => console.log(JSON.stringify(what));
const [port, cert, key] = Deno.args;
const sockets = new Set<WebSocket>();
const tls = cert && { cert: Deno.readTextFileSync(cert), key: Deno.readTextFileSync(key) };

const options = { hostname: "127.0.0.1", port: Number(port), onListen: () => {}, ...tls };
const server = Deno.serve(options, (request) => {
  if (request.headers.get("upgrade") !== "websocket") return new Response("no WebSocket");
  const { socket, response } = Deno.upgradeWebSocket(request, { protocol: "interop" });
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    sockets.add(socket);
    say({ open: "interop" });
  };
  socket.onmessage = ({ data }) => {
    if (data === "/close") socket.close(4001, "over");
    else socket.send(data);
  };
  socket.onerror = (event) => console.error((event as ErrorEvent).message);
  socket.onclose = ({ code, reason }) => {
    sockets.delete(socket);
    say({ closed: code, reason });
  };
  return response;
});

Deno.addSignalListener("SIGTERM", () => {
  for (const socket of sockets) socket.close(1001);
  server.shutdown().then(() => Deno.exit());
});

// Bun's own server.
const say = (what: object) => console.log(JSON.stringify(what));
const [port, cert, key] = process.argv.slice(2);
const sockets = new Set<any>();

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(port),
  tls: cert ? { cert: Bun.file(cert), key: Bun.file(key) } : undefined,
  fetch: (request, server) => {
    const headers = { "Sec-WebSocket-Protocol": "interop" };
    return server.upgrade(request, { headers }) ? undefined : new Response("no WebSocket");
  },
  websocket: {
    perMessageDeflate: { compress: "dedicated", decompress: "dedicated" },
    open(socket) {
      sockets.add(socket);
      say({ open: "interop" });
    },
    message(socket, message) {
      if (message === "/ping") socket.ping();
      else if (message === "/close") socket.close(4001, "over");
      else if (typeof message === "string") socket.sendText(message, true);
      else socket.sendBinary(message, true);
    },
    pong(socket) {
      socket.send("pong");
    },
    close(socket, code, reason) {
      sockets.delete(socket);
      say({ closed: code, reason });
    },
  },
});

process.on("SIGTERM", () => {
  for (const socket of sockets) socket.close(1001);
  server.stop();
});

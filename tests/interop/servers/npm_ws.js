// ws.
const { readFileSync } = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const { WebSocketServer } = require("ws");

const say = (what) => console.log(JSON.stringify(what));
const [port, cert, key] = process.argv.slice(2);
const server = cert
  ? https.createServer({ cert: readFileSync(cert), key: readFileSync(key) })
  : http.createServer();
const sockets = new WebSocketServer({
  server,
  perMessageDeflate: true,
  handleProtocols: (offered) => offered.has("interop") && "interop",
});

sockets.on("connection", (socket) => {
  say({ open: socket.protocol || null });
  socket.on("message", (data, isBinary) => {
    const text = isBinary ? "" : data.toString();
    if (text === "/fragments") {
      socket.send("one, ", { fin: false });
      socket.send("two, ", { fin: false });
      socket.send("three");
    } else if (text === "/ping") socket.ping();
    else if (text === "/close") socket.close(4001, "over");
    else socket.send(data, { binary: isBinary });
  });
  socket.on("pong", () => socket.send("pong"));
  socket.on("error", (error) => console.error(error));
  socket.on("close", (code, reason) => say({ closed: code, reason: reason.toString() }));
});

process.on("SIGTERM", () => {
  server.close();
  for (const socket of sockets.clients) socket.close(1001);
});
server.listen(Number(port), "127.0.0.1");

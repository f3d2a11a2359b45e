// faye-websocket for Node.js.
const { readFileSync } = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const WebSocket = require("faye-websocket");
const deflate = require("permessage-deflate");

const say = (what) => console.log(JSON.stringify(what));
const [port, cert, key] = process.argv.slice(2);
const server = cert
  ? https.createServer({ cert: readFileSync(cert), key: readFileSync(key) })
  : http.createServer();

server.on("upgrade", (request, stream, head) => {
  const options = { extensions: [deflate] };
  const socket = new WebSocket(request, stream, head, ["interop"], options);
  socket.on("open", () => say({ open: socket.protocol || null }));
  socket.on("message", ({ data }) => {
    if (data === "/ping") socket.ping("", () => socket.send("pong"));
    else if (data === "/close") socket.close(4001, "over");
    else socket.send(data);
  });
  socket.on("error", (event) => console.error(event.message));
  socket.on("close", ({ code, reason }) => say({ closed: code, reason }));
});

server.listen(Number(port), "127.0.0.1");

// ws for Node.js; its settings are the one argument, as JSON.
const { readFileSync } = require("node:fs");
const { createServer } = require("node:http");
const { createServer: createTLSServer } = require("node:https");
const { WebSocket, WebSocketServer } = require("ws");

const settings = JSON.parse(process.argv[2]);
const http = settings.tls
  ? createTLSServer({ cert: readFileSync(settings.tls[0]), key: readFileSync(settings.tls[1]) })
  : createServer();
const server = new WebSocketServer({
  server: http,
  maxPayload: settings.maxPayload,
  perMessageDeflate: settings.compress,
});

const reply = {
  echo: (client, data, binary) => client.send(data, { binary }),
  broadcast: (client, data, binary) => {
    for (const other of server.clients) {
      if (other.readyState === WebSocket.OPEN) other.send(data, { binary });
    }
  },
  sleep: (client, data, binary) => {
    const send = () => client.send(data, { binary });
    if (data.subarray(0, 5).equals(Buffer.from("sleep"))) {
      setTimeout(send, settings.sleepMilliseconds);
    } else {
      send();
    }
  },
}[settings.mode];

server.on("connection", (client) => {
  client.on("error", () => {});
  client.on("message", (data, binary) => reply(client, data, binary));
});

http.listen(settings.port, "127.0.0.1", () => {
  const scheme = settings.tls ? "wss" : "ws";
  console.log(`${scheme}://127.0.0.1:${http.address().port}/`);
});
process.stdin.on("end", () => process.exit(0)).resume();

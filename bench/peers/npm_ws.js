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

// As tests/support/verbs.py. Node.js has no call that blocks: what would block waits.
const verbs = {
  compute: (client, text, rest) => {
    const end = performance.now() + 1000 * Number(rest);
    while (performance.now() < end);
    client.send(text);
  },
  sleep: (client, text, rest) => setTimeout(() => client.send(text), 1000 * Number(rest)),
  big: (client, text, rest) => client.send("x".repeat(Number(rest))),
  length: (client, text) => client.send(String(text.length)),
};

const reply = {
  echo: (client, data, binary) => client.send(data, { binary }),
  broadcast: (client, data, binary) => {
    for (const other of server.clients) {
      if (other.readyState === WebSocket.OPEN) other.send(data, { binary });
    }
  },
  verbs: (client, data, binary) => {
    const text = binary ? "" : data.toString();
    const at = text.indexOf(":");
    const act = at > 0 && verbs[text.slice(0, at)];
    if (act) act(client, text, text.slice(at + 1));
    else client.send(data, { binary });
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

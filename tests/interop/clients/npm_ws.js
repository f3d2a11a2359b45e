// ws.
const { readFileSync } = require("node:fs");
const { createInterface } = require("node:readline");
const WebSocket = require("ws");

const say = (what) => console.log(JSON.stringify(what));
const ca = readFileSync(process.argv[2]);

const talk = (url) =>
  new Promise((ended) => {
    const socket = new WebSocket(url, ["other", "interop"], { ca });
    socket.on("open", () => say({ open: socket.protocol || null }));
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
    socket.on("close", (code, reason) => {
      say({ closed: code, reason: reason.toString() });
      ended();
    });
  });

(async () => {
  for await (const url of createInterface({ input: process.stdin })) await talk(url);
})();

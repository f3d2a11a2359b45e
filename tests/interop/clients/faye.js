// faye-websocket for Node.js.
const { readFileSync } = require("node:fs");
const { createInterface } = require("node:readline");
const deflate = require("permessage-deflate");
const { Client } = require("faye-websocket");

const say = (what) => console.log(JSON.stringify(what));
const tls = { ca: readFileSync(process.argv[2]) };

const talk = (url) =>
  new Promise((ended) => {
    const socket = new Client(url, ["other", "interop"], { tls, extensions: [deflate] });
    socket.on("open", () => say({ open: socket.protocol || null }));
    socket.on("message", ({ data }) => {
      if (data === "/ping") socket.ping("", () => socket.send("pong"));
      else if (data === "/close") socket.close(4001, "over");
      else socket.send(data);
    });
    socket.on("error", (event) => console.error(event.message));
    socket.on("close", ({ code, reason }) => {
      say({ closed: code, reason });
      ended();
    });
  });

(async () => {
  for await (const url of createInterface({ input: process.stdin })) await talk(url);
})();

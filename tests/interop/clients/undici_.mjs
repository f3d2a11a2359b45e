// undici.
import { createInterface } from "node:readline";
import { ping, WebSocket } from "undici";
import diagnostics from "node:diagnostics_channel";

const say = (what) => console.log(JSON.stringify(what));

diagnostics.subscribe("undici:websocket:pong", ({ websocket }) => websocket.send("pong"));

const talk = (url) =>
  new Promise((ended) => {
    const socket = new WebSocket(url, ["other", "interop"]);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => say({ open: socket.protocol || null });
    socket.onmessage = ({ data }) => {
      if (data === "/close") socket.close(4001, "over");
      else if (data === "/ping") ping(socket);
      else socket.send(data);
    };
    socket.onerror = (event) => console.error(event.message);
    socket.onclose = ({ code, reason }) => {
      say({ closed: code, reason });
      ended();
    };
  });

for await (const url of createInterface({ input: process.stdin })) await talk(url);

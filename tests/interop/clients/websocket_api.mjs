// The WebSocket of the HTML standard, as the engine itself has it: Node.js, Deno, Bun.
import { createInterface } from "node:readline";

const say = (what) => console.log(JSON.stringify(what));

const talk = (url) =>
  new Promise((ended) => {
    const socket = new WebSocket(url, ["other", "interop"]);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => say({ open: socket.protocol || null });
    socket.onmessage = ({ data }) => {
      if (data === "/close") socket.close(4001, "over");
      else socket.send(data);
    };
    socket.onerror = (event) => console.error(event.message);
    socket.onclose = ({ code, reason }) => {
      say({ closed: code, reason });
      ended();
    };
  });

for await (const url of createInterface({ input: process.stdin })) await talk(url);

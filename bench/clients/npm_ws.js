// ws for Node.js, for the cases of Autobahn's fuzzing server; its settings are the one argument, as JSON.
const { WebSocket } = require("ws");

const settings = JSON.parse(process.argv[2]);

const run = (url) =>
  new Promise((resolve) => {
    const client = new WebSocket(url, {
      maxPayload: settings.maxPayload,
      perMessageDeflate: settings.compress,
    });
    client.on("message", (data, binary) => client.send(data, { binary }));
    client.on("error", (error) => console.log(`${url}: ${error.message}`));
    client.on("close", resolve);
  });

(async () => {
  for (const url of settings.urls) await run(url);
  process.exit(0);
})();
process.stdin.on("end", () => process.exit(1)).resume();

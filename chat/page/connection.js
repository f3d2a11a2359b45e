"use strict";

/* A connection to the chat's server. It notices when it is lost, and reconnects. */

const SUBPROTOCOL = "chat.v1";
const PING_AFTER = 3000; // milliseconds of silence
const PONG_WITHIN = 5000;
const OPEN_WITHIN = 8000;
const FIRST_WAIT = 500; // milliseconds before the first try to reconnect; doubled each time
const LONGEST_WAIT = 15000;

class Connection {
  /* on: open(), event(object), piece(header, bytes), and status(state, seconds) with the state
     "connecting", "open", "away" (the server shuts down) or "lost", and the seconds until it
     tries again. */
  constructor(address, on) {
    this.address = address;
    this.on = on;
    this.tries = 0;
    this.connect();
    setInterval(() => this.watch(), 1000);
    window.addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.hurry());
    window.addEventListener("offline", () => this.ping());
  }

  connect() {
    clearTimeout(this.timer);
    this.on.status("connecting", 0);
    const socket = new WebSocket(this.address, SUBPROTOCOL);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      clearTimeout(this.timer);
      this.heard();
      this.watched = performance.now();
      this.on.open();
    };
    socket.onmessage = ({ data }) => {
      this.heard();
      if (typeof data === "string") this.on.event(JSON.parse(data));
      else this.receive(new Uint8Array(data));
    };
    socket.onclose = ({ code }) => this.lose(code);
    this.socket = socket;
    this.timer = setTimeout(() => this.lose(), OPEN_WITHIN);
  }

  get open() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  /* The server has answered our hello. */
  settle() {
    this.tries = 0;
    this.on.status("open", 0);
  }

  send(event) {
    if (this.open) this.socket.send(JSON.stringify(event));
  }

  /* Send a piece of a file. */
  sendPiece(header, bytes) {
    const head = new TextEncoder().encode(JSON.stringify(header) + "\n");
    const message = new Uint8Array(head.length + bytes.byteLength);
    message.set(head);
    message.set(new Uint8Array(bytes), head.length);
    if (this.open) this.socket.send(message);
  }

  receive(message) {
    const end = message.indexOf(10);
    const header = JSON.parse(new TextDecoder().decode(message.subarray(0, end)));
    this.on.piece(header, message.slice(end + 1));
  }

  heard() {
    this.pingAt = performance.now() + PING_AFTER;
    this.deadline = Infinity;
  }

  ping() {
    this.pingAt = Infinity;
    this.deadline = Math.min(this.deadline, performance.now() + PONG_WITHIN);
    this.send({ type: "ping" });
  }

  /* On a frozen link the browser still shows the connection as open, so we check it ourselves. */
  watch() {
    const now = performance.now();
    const asleep = now - this.watched > 3000; // the page was suspended: what arrived meanwhile isn't handled yet
    this.watched = now;
    if (!this.open) return;
    const { bufferedAmount } = this.socket;
    if (asleep || bufferedAmount < this.buffered) this.heard(); // data is still being sent: it is alive
    this.buffered = bufferedAmount;
    if (now > this.deadline) this.lose();
    else if (now > this.pingAt) this.ping();
  }

  lose(code) {
    const { socket } = this;
    if (!socket) return;
    this.socket = null;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    clearTimeout(this.timer);
    if (code === 1001) this.tries = Math.max(this.tries, 2); // a restart takes a moment
    if (code === 1008) this.tries = Math.max(this.tries, 5); // we have asked for too much
    // Half of the wait is random, so that not all clients reconnect at once.
    const longest = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.tries++);
    const wait = longest * (0.5 + Math.random() / 2);
    this.timer = setTimeout(() => this.connect(), wait);
    this.on.status(code === 1001 ? "away" : "lost", Math.ceil(wait / 1000));
  }

  /* Try now: the network is back, or the page is visible again. */
  hurry() {
    if (this.open) this.ping();
    else if (!this.socket) this.connect();
  }
}

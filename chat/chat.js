"use strict";

const KEPT = 500; // messages on the page
const [log, messages, form, input, status] = ["log", "messages", "form", "input", "status"].map(
  (id) => document.getElementById(id),
);
const awaited = []; // what was sent from here and hasn't come back
let atEnd = true; // the newest message is in view

function address() {
  if (location.protocol === "file:") {
    // index.html?port=9000 is for a server on another port
    return `ws://localhost:${Number(new URLSearchParams(location.search).get("port")) || 8000}/`;
  }
  const url = new URL(".", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  return url.href;
}

function show(text) {
  const item = document.createElement("li");
  item.textContent = text;
  const mine = awaited.indexOf(text) + 1;
  if (mine) {
    awaited.splice(0, mine); // they come back in order
    item.className = "mine";
  }
  messages.append(item);
  if (messages.childElementCount > KEPT) messages.firstElementChild.remove();
  if (mine) atEnd = true;
  follow();
}

// Whoever has scrolled back to read stays there, but sees what they have just said.
function follow() {
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function tell(state, text) {
  status.className = state;
  status.firstElementChild.textContent = text;
  status.lastElementChild.hidden = state !== "lost";
  form.querySelector("button").disabled = state !== "open";
}

const socket = new WebSocket(address());
socket.onopen = () => tell("open", "Connected");
socket.onclose = () => tell("lost", "Connection lost.");
socket.onmessage = (event) => show(event.data);
tell("", "Connecting…");

log.addEventListener("scroll", () => {
  atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
});
new ResizeObserver(follow).observe(log); // a growing draft or a phone's keyboard takes room

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = input.value.trim();
  input.focus();
  if (!text || socket.readyState !== WebSocket.OPEN) return; // what was written stays
  awaited.push(text);
  socket.send(text);
  input.value = "";
});

input.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
});

"use strict";

/* The room, the people in it, and the server's events. */

const ROOMS_KEPT = 12;
const TYPING_EVERY = 2000; // milliseconds
const TYPING_LASTS = 5000;
const LEAVE_AFTER = 2000; // milliseconds; somebody who is back by then, as after a reload, hasn't left

/* The room */

const limits = { text: 4000, name: 40, file: 5 << 20, piece: 56 << 10 }; // until the server tells its own
let room = ""; // where this tab is, or is about to be
let entered = false; // the server's welcome has come
let helloId = null; // the id of the hello that has no answer yet
let story = null; // the id of the history that `seen` belongs to
let seen = null; // the "seq" of the last message
const people = new Map();
const departures = new Map(); // timers, by person
let chatTitle = "Chat";

/* A room's name, normalized as the server does it. */
const roomName = (text) => [...text.replace(/\s+/g, " ").trim()].slice(0, limits.name).join("").trim();

function roomOfHash() {
  let name = location.hash.slice(1);
  try {
    name = decodeURIComponent(name);
  } catch {}
  return roomName(name) || "lobby";
}

const hashOf = (name) => `#${encodeURIComponent(name.replace(/\p{Cs}/gu, ""))}`;

function enter(name) {
  room = name;
  entered = false;
  story = seen = null;
  more = false;
  known.clear();
  people.clear();
  clear();
  showRoom();
  showPeople();
  outbox.filter(here).forEach(showPending);
  input.value = remembered(tab, `draft.${room}`) || "";
  hello();
}

function hello() {
  inFlight = null;
  helloId = randomId();
  const { name, key } = me;
  connection?.send({ type: "hello", id: helloId, room, name, key, history: story, seen });
}

function showRoom() {
  $("room").replaceChildren("#", bdi(room));
  $("my-room").textContent = `#${room}`;
  document.querySelector("#drop bdi").textContent = `#${room}`;
  let rooms = (remembered(browser, "rooms") || "lobby").split("\n");
  if (!rooms.includes(room)) rooms = [...rooms, room].slice(-ROOMS_KEPT);
  remember(browser, "rooms", rooms.join("\n"));
  const links = rooms.map((name) => {
    const link = el("a", { href: hashOf(name) }, "#", bdi(name));
    if (name === room) link.setAttribute("aria-current", "page");
    return el("li", {}, link);
  });
  $("rooms").replaceChildren(...links);
  showTitle();
}

$("open-room").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = roomName($("room-input").value.replace(/^\s*#+/, ""));
  $("room-input").value = "";
  if (!name) return;
  location.hash = hashOf(name);
  closeSide();
});
$("rooms").addEventListener("click", (event) => event.target.closest("a") && closeSide());
window.addEventListener("hashchange", () => roomOfHash() !== room && enter(roomOfHash()));

/* People */

function showPeople() {
  const others = [...people.values()].filter(({ id }) => id !== me.id);
  others.sort((a, b) => a.name.localeCompare(b.name));
  const all = people.has(me.id) ? [people.get(me.id), ...others] : others;
  const items = all.map((person) => {
    const item = el("li", {}, avatarOf(person), bdi(person.name));
    if (person.id === me.id) item.append(el("span", { className: "soft" }, " (you)"));
    return item;
  });
  $("people").replaceChildren(...items);
  $("people-count").textContent = items.length || "";
  const count = items.length;
  $("presence").textContent = count ? (count === 1 ? "only you" : `${count} people`) : "";
}

function join(person) {
  const back = departures.has(person.id);
  clearTimeout(departures.get(person.id));
  departures.delete(person.id);
  if (!back && !people.has(person.id)) append(noticeItem(bdi(person.name), " joined"));
  people.set(person.id, person);
  showPeople();
}

function leave(person) {
  people.delete(person.id);
  forgetTyping(person.id);
  showPeople();
  const where = room;
  const tell = () => {
    departures.delete(person.id);
    if (room === where) append(noticeItem(bdi(person.name), " left"));
  };
  departures.set(person.id, setTimeout(tell, LEAVE_AFTER));
}

function rename(person) {
  const old = people.get(person.id);
  people.set(person.id, person);
  if (person.id === me.id) setName(person.name, false);
  if (old && old.name !== person.name) append(noticeItem(bdi(old.name), " is now ", bdi(person.name)));
  showPeople();
}

/* Typing */

const typists = new Map(); // names and timers, by person
let toldTyping = 0;

function showTyping() {
  $("typing").replaceChildren(...typingText([...typists.values()].map(({ name }) => name)));
}

function forgetTyping(id) {
  clearTimeout(typists.get(id)?.timer);
  if (typists.delete(id)) showTyping();
}

function typing({ id, name }) {
  if (id === me.id) return;
  forgetTyping(id);
  typists.set(id, { name, timer: setTimeout(() => forgetTyping(id), TYPING_LASTS) });
  showTyping();
}

input.addEventListener("input", () => {
  saveDraft();
  if (!input.value) toldTyping = 0; // the next text is a new message
  if (!input.value || Date.now() - toldTyping < TYPING_EVERY || !entered) return;
  toldTyping = Date.now();
  connection.send({ type: "typing" });
});

/* On a narrow page, the sidebar is a drawer. */

function openSide() {
  document.body.classList.add("side-open");
  $("menu").setAttribute("aria-expanded", "true");
}
function closeSide() {
  document.body.classList.remove("side-open");
  $("menu").setAttribute("aria-expanded", "false");
}
$("menu").addEventListener("click", () => {
  openSide();
  nameInput.focus({ preventScroll: true });
});
$("change-name").addEventListener("click", () => {
  openSide();
  nameInput.select();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !document.body.classList.contains("side-open")) return;
  closeSide();
  $("menu").focus();
});
document.querySelector("main").addEventListener("click", (event) => {
  if (!event.target.closest("#menu, #change-name")) closeSide();
});

/* The connection */

function address() {
  const query = new URLSearchParams(location.search);
  if (location.protocol === "file:") {
    // index.html?port=9000&tls=1 is for a server on another port, or with a certificate
    const scheme = query.get("tls") ? "wss" : "ws";
    return `${scheme}://localhost:${Number(query.get("port")) || 8000}/`;
  }
  const url = new URL(".", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  return url.href;
}

const STATUS = {
  connecting: () => (connection?.tries ? "Reconnecting…" : "Connecting…"),
  open: () => "Connected",
  lost: (seconds) => `Reconnecting… in ${seconds} s`,
  away: (seconds) => `The server is going away. Reconnecting… in ${seconds} s`,
};

function showStatus(state, seconds) {
  if (state !== "open") entered = false;
  $("connection").className = state;
  $("status").textContent = STATUS[state](seconds);
  $("retry").hidden = state !== "lost" && state !== "away";
}
$("retry").addEventListener("click", () => connection.hurry());

function welcome(event) {
  if (event.id !== helloId) return; // the user has moved on to another room
  if (event.room !== room) {
    room = event.room; // as the server normalizes it
    history.replaceState(null, "", hashOf(room));
  }
  entered = true;
  connection.settle();
  me.id = event.you;
  chatTitle = event.chat;
  $("title").textContent = chatTitle;
  Object.assign(limits, event.limits);
  setName(event.name, false);
  people.clear();
  for (const person of event.people) people.set(person.id, person);
  showPeople();
  const again = story === event.history;
  log.ariaBusy = "true";
  if (!event.resumed) {
    if (again) {
      // too much was missed to resume: start over
      known.clear();
      clear();
      outbox.filter(here).forEach(showPending);
    } else if (story) {
      append(noticeItem("The server has started anew"));
    }
    more = event.more && (again || !story);
    $("older").hidden = !more;
    seen = 0;
  }
  const live = Boolean(story);
  story = event.history;
  for (const message of event.messages) show(message, live);
  log.ariaBusy = "false";
  loading = false;
  showRoom();
  showEmpty();
  fetching?.ask();
  pump();
}

const handlers = {
  welcome,
  message: (event) => show(event, true),
  join: (event) => join(event.person),
  leave: (event) => leave(event.person),
  rename: (event) => rename(event.person),
  typing: (event) => typing(event.person),
  older: showOlder,
  more: sendMore,
  error: refused,
};

let connection;
(async () => {
  await identify();
  setName(me.name, false);
  outbox = JSON.parse(remembered(tab, "outbox") || "[]");
  enter(roomOfHash());
  connection = new Connection(address(), {
    open: hello,
    event(event) {
      // until we are welcome in another room, events are still about the old one
      if (entered || event.type === "welcome" || event.type === "error") handlers[event.type]?.(event);
    },
    piece: (header, bytes) => fetching?.add(header, bytes),
    status: showStatus,
  });
})();

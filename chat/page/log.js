"use strict";

/* The message log. It follows new messages unless the reader has scrolled up; sending a message
   scrolls to the end. */

const KEPT = 1000; // messages on the page

const [log, messages] = ["log", "messages"].map($);
const known = new Set(); // author and id of each message shown
let more = false; // there are older messages
let loading = false; // they have been asked for
let atEnd = true; // the newest message is in view
let unread = 0;

function clear() {
  for (const url of pictures(messages)) URL.revokeObjectURL(url);
  messages.replaceChildren();
  contents.clear();
  atEnd = true;
  read();
  $("older").hidden = true;
}

const pictures = (node) => Array.from(node.querySelectorAll("img"), ({ src }) => src);

/* Add an item at the end, but above messages that are still to be sent. */
function append(item) {
  const pending = messages.querySelector(".pending");
  pending ? pending.before(item) : messages.append(item);
  if (item.message) arrange(item);
  if (pending) arrange(pending);
  if (atEnd && messages.childElementCount > KEPT) trim();
  showEmpty();
  follow();
}

function trim() {
  let item = messages.firstElementChild;
  for (let surplus = messages.childElementCount - KEPT; surplus > 0 || !item.message; surplus--) {
    const next = item.nextElementSibling;
    if (item.message) {
      known.delete(`${item.message.from} ${item.message.id}`);
      more = true;
    }
    for (const url of pictures(item)) URL.revokeObjectURL(url);
    item.remove();
    item = next;
  }
  arrange(item);
  $("older").hidden = !more;
}

function follow() {
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function showEmpty() {
  $("empty").hidden = !entered || Boolean(messages.querySelector(".message"));
}

function read() {
  if (document.hidden || !atEnd) return;
  unread = 0;
  showTitle();
}

function showTitle() {
  document.title = `${unread ? `(${unread}) ` : ""}#${room} – ${chatTitle}`;
  $("jump").hidden = atEnd;
  $("jump-count").textContent = unread ? ` · ${unread} new` : "";
}

log.addEventListener("scroll", () => {
  atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 48;
  if (log.scrollTop < 300 && !atEnd) older();
  read();
  showTitle();
});
new ResizeObserver(follow).observe(log); // a growing draft or a phone's keyboard takes room
document.addEventListener("visibilitychange", read);
$("jump").addEventListener("click", () => {
  atEnd = true;
  follow();
  read();
  showTitle();
  input.focus();
});

/* Show a message from the server; live: it is new to the reader. */
function show(message, live) {
  seen = Math.max(seen ?? 0, message.seq);
  const key = `${message.from} ${message.id}`;
  if (known.has(key)) return;
  forgetTyping(message.from);
  const mine = message.from === me.id;
  const entry = mine && outbox.find(({ id }) => id === message.id);
  if (entry) deliver(entry, message);
  else append(rendered(message, mine));
  known.add(key);
  if (live && !mine && (document.hidden || !atEnd)) {
    unread++;
    showTitle();
  }
}

function rendered(message, mine) {
  const { file } = message;
  const body = file ? bodyOf(file) : textBody(message.text);
  const item = messageItem(message, mine, body);
  if (mine) setState(item, "sent", "Sent");
  return item;
}

function older() {
  if (!more || loading || !entered) return;
  const oldest = Array.from(messages.children).find(({ message }) => message?.seq);
  if (!oldest) return;
  loading = true;
  connection.send({ type: "older", before: oldest.message.seq });
}
$("older").addEventListener("click", older);

function showOlder(page) {
  loading = false;
  more = page.more;
  $("older").hidden = !more;
  const height = log.scrollHeight;
  const next = messages.querySelector(".message");
  log.ariaBusy = "true";
  const items = page.messages
    .filter(({ from, id }) => !known.has(`${from} ${id}`))
    .map((message) => rendered(message, message.from === me.id));
  for (const { message } of items) known.add(`${message.from} ${message.id}`);
  messages.prepend(...items);
  items.forEach(arrange);
  if (next) arrange(next);
  log.ariaBusy = "false";
  log.scrollTop += log.scrollHeight - height;
}

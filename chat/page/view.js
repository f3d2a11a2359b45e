"use strict";

/* How messages and people look: nodes made from data. Text stays text, and never becomes HTML. */

const SAME_BREATH = 5 * 60_000; // milliseconds; messages of one person closer than this form a group

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const calendar = new Intl.DateTimeFormat(undefined, { dateStyle: "full" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
const number = new Intl.NumberFormat();

const $ = (id) => document.getElementById(id);

/* Make an element: el("p", {className: "x"}, "text", node). */
function el(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const bdi = (text) => el("bdi", {}, text);

/* A person's colour: the same for everybody, whatever the name. */
const hue = (id) => (parseInt(id.slice(0, 6), 16) % 24) * 15;

function initials(name) {
  const words = name.split(/[\s._-]+/).filter((word) => /[\p{L}\p{N}\p{So}]/u.test(word));
  const first = (word) => [...word].find((c) => /[\p{L}\p{N}\p{So}]/u.test(c)).toUpperCase();
  return words.length > 1 ? first(words[0]) + first(words.at(-1)) : words.length ? first(words[0]) : "?";
}

function paint(avatar, person) {
  avatar.textContent = initials(person.name);
  avatar.style.setProperty("--hue", hue(person.id));
  return avatar;
}

function avatarOf(person) {
  const avatar = el("span", { className: "avatar" });
  avatar.setAttribute("aria-hidden", "true");
  return paint(avatar, person);
}

function size(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  const [unit, one] = bytes < 1_000_000 ? ["KB", 1 << 10] : ["MB", 1 << 20];
  return `${Number((bytes / one).toFixed(bytes < 10 * one ? 1 : 0))} ${unit}`;
}

/* Text with links: only http: and https:, each checked by the browser's own parser. Takes time in
   proportion to the text's length, whatever is in it. */
function linked(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(/\bhttps?:\/\/[^\s<>"“”]+/gi)) {
    const link = withoutTail(match[0]);
    const url = parseURL(link);
    if (!url) continue;
    nodes.push(text.slice(end, match.index));
    nodes.push(el("a", { href: url.href, target: "_blank", rel: "noopener noreferrer" }, link));
    end = match.index + link.length;
  }
  return [...nodes, text.slice(end)];
}

/* A link without the punctuation after it, and without brackets that it doesn't open. */
function withoutTail(link) {
  let end = link.length;
  while (".,:;!?'’…*_~".includes(link[end - 1])) end--;
  if (!/[([]/.test(link.slice(8, end))) while (")]".includes(link[end - 1])) end--;
  return link.slice(0, end);
}

function parseURL(link) {
  try {
    const url = new URL(link);
    return /^https?:$/.test(url.protocol) ? url : null;
  } catch {
    return null;
  }
}

function day(time) {
  const midnight = (value) => new Date(value).setHours(0, 0, 0, 0);
  const days = Math.round((midnight(time) - midnight(Date.now())) / 86_400_000);
  return days > -2 && days < 1 ? capital(relative.format(days, "day")) : calendar.format(time);
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/* A message's list item; `body` is a node with its text or file. */
function messageItem(message, mine, body) {
  const meta = el("p", { className: "meta" }, el("time"));
  if (mine) meta.append(el("span", { className: "state" }, el("span", { className: "unseen" })));
  const author = el("p", { className: "author" }, bdi(message.name));
  author.style.setProperty("--hue", hue(message.from));
  const said = el("div", { className: "said" }, body, meta);
  const bubble = el("div", { className: "bubble" }, author, said);
  const item = el("li", { className: mine ? "message mine" : "message" });
  if (!mine) item.append(avatarOf({ id: message.from, name: message.name }));
  item.append(bubble);
  item.message = message;
  showTime(item, message.time);
  return item;
}

function showTime(item, time) {
  const title = `${calendar.format(time)}, ${clock.format(time)}`;
  const dateTime = new Date(time).toISOString();
  Object.assign(item.querySelector("time"), { dateTime, title, textContent: clock.format(time) });
}

function textBody(text) {
  const body = el("div", { className: "text", dir: "auto" }, ...linked(text));
  if (/^(?:[\p{Extended_Pictographic}\p{Regional_Indicator}\p{Emoji_Modifier}\u200d\ufe0f]){1,12}$/u.test(text)) {
    body.classList.add("emoji");
  }
  return body;
}

function fileBody(file) {
  const link = el("a", { className: "file", href: "#", download: file.name });
  link.append(el("span", { className: "file-name" }, bdi(file.name)));
  link.append(el("span", { className: "file-size" }, size(file.size)));
  return link;
}

/* An image as a button that shows it large; empty until its content is there. */
function imageBody(file) {
  const frame = el("button", { type: "button", className: "image" });
  frame.setAttribute("aria-label", `Image ${file.name}`);
  if (file.width && file.height) {
    frame.style.setProperty("--width", file.width);
    frame.style.setProperty("--height", file.height);
  }
  return frame;
}

/* Show whether one of our own messages has arrived. */
function setState(item, state, text) {
  item.classList.toggle("pending", state === "sending");
  item.classList.toggle("failed", state === "failed");
  item.querySelector(".state span").textContent = text;
}

/* A line such as "Ann joined"; parts are strings and nodes. */
const noticeItem = (...parts) => el("li", { className: "notice" }, el("p", {}, ...parts));

/* Put a heading above the first message of a day, and join messages of one author to a group. */
function arrange(item) {
  let before = item.previousElementSibling;
  if (before?.classList.contains("day")) {
    before.remove();
    before = item.previousElementSibling;
  }
  let previous = before;
  while (previous && !previous.message) previous = previous.previousElementSibling;
  const { message } = item;
  const sameDay = previous && day(previous.message.time) === day(message.time);
  if (!sameDay) item.before(el("li", { className: "day" }, el("p", {}, day(message.time))));
  const goesOn =
    sameDay &&
    previous === before &&
    previous.message.from === message.from &&
    previous.message.name === message.name &&
    message.time - previous.message.time < SAME_BREATH;
  item.classList.toggle("goes-on", Boolean(goesOn));
}

/* "Ann is typing…" */
function typingText(names) {
  if (!names.length) return [];
  if (names.length === 1) return [bdi(names[0]), " is typing…"];
  if (names.length === 2) return [bdi(names[0]), " and ", bdi(names[1]), " are typing…"];
  return [`${names.length} people are typing…`];
}

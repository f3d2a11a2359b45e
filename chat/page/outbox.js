"use strict";

/* Messages and files to send, one at a time, in order. Each is kept until it comes back from the
   server. Its id makes sure that it is stored once, even if it is sent again. */

const PIECES_AHEAD = 4; // of a file, before the server has answered

const input = $("input");
let outbox = []; // {id, room, text or file, item}
let inFlight = null;

const here = (entry) => entry.room === room;

function saveOutbox() {
  const texts = outbox.filter(({ text }) => text).map(({ id, room, text }) => ({ id, room, text }));
  remember(tab, "outbox", JSON.stringify(texts));
}

/* Texts survive a reload, files don't. */
window.addEventListener("beforeunload", (event) => {
  if (outbox.some(({ file }) => file)) event.preventDefault();
});

function post(content) {
  const entry = { id: randomId(), room, ...content };
  outbox.push(entry);
  saveOutbox();
  atEnd = true;
  showPending(entry);
  read();
  pump();
}

function showPending(entry) {
  const message = { id: entry.id, from: me.id || "0", name: me.name, time: Date.now() };
  const body = entry.file ? uploadBody(entry) : textBody(entry.text);
  entry.item = messageItem(message, true, body);
  setState(entry.item, "sending", "Sending");
  messages.append(entry.item);
  arrange(entry.item);
  showEmpty();
  follow();
}

function pump() {
  const entry = outbox.find(here);
  if (!entered || inFlight || !entry) return;
  inFlight = entry;
  if (entry.file) upload(entry);
  else connection.send({ type: "say", id: entry.id, text: entry.text });
}

function settle(entry) {
  outbox = outbox.filter((other) => other !== entry);
  entry.content = null;
  saveOutbox();
  if (inFlight === entry) inFlight = null;
}

/* One of our own messages has come back. */
function deliver(entry, message) {
  const { item } = entry;
  settle(entry);
  item.message = message;
  if (message.file) {
    const { id, type } = message.file;
    contents.set(id, Promise.resolve(new Blob([entry.file], { type })));
    item.querySelector(".upload").replaceWith(bodyOf(message.file));
    if (entry.url) URL.revokeObjectURL(entry.url);
  }
  showTime(item, message.time);
  setState(item, "sent", "Sent");
  arrange(item);
  toldTyping = 0;
  pump();
}

function refused({ code, text, id, file, retry }) {
  if (file) return fetching?.refuse(text, retry);
  alertUser(text);
  if (code === "name") setName(people.get(me.id).name, false);
  if (id === helloId) return setTimeout(() => entered || hello(), retry * 1000);
  const entry = outbox.find((other) => other.id === id);
  if (!entry) return;
  entry.content = null; // no more pieces
  clearTimeout(entry.timer);
  if (retry) {
    entry.timer = setTimeout(() => {
      if (inFlight === entry) inFlight = null;
      pump();
    }, retry * 1000);
  } else {
    settle(entry);
    setState(entry.item, "failed", "Not sent");
    pump();
  }
}

let alertTimer;
function alertUser(text) {
  $("alert").textContent = text;
  clearTimeout(alertTimer);
  alertTimer = setTimeout(() => $("alert").replaceChildren(), 15000);
}

/* Writing */

const saveDraft = () => remember(tab, `draft.${room}`, input.value || null);

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = input.value.trim();
  input.focus();
  if (!text) return;
  const length = [...text].length;
  if (length > limits.text) {
    alertUser(`This is too long: ${number.format(length)} of ${number.format(limits.text)} characters.`);
    return;
  }
  input.value = "";
  toldTyping = 0; // others stop showing it when they get the message
  saveDraft();
  post({ text });
});

input.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("form").requestSubmit();
});

/* Files */

async function attach(files) {
  for (const file of files) {
    if (file.size > limits.file) alertUser(`“${file.name}” is too large: ${size(limits.file)} is the most.`);
    else if (!file.size) alertUser(`“${file.name}” is empty.`);
    else post({ file, ...(await dimensions(file)) });
  }
  input.focus();
}

async function dimensions(file) {
  if (!file.type.startsWith("image/") || !window.createImageBitmap) return {};
  try {
    const bitmap = await createImageBitmap(file);
    const { width, height } = bitmap;
    bitmap.close();
    return { width, height };
  } catch {
    return {};
  }
}

function uploadBody(entry) {
  const { file } = entry;
  const progress = el("progress", { max: 1, value: 0 });
  progress.setAttribute("aria-label", `Sending ${file.name}`);
  let body;
  if (entry.width) {
    body = imageBody({ ...entry, name: file.name });
    entry.url ||= URL.createObjectURL(file);
    body.append(el("img", { src: entry.url, alt: file.name }));
  } else {
    body = fileBody(file);
  }
  entry.progress = progress;
  return el("div", { className: "upload" }, body, progress);
}

async function upload(entry) {
  let content;
  try {
    content = await entry.file.arrayBuffer();
  } catch {
    settle(entry);
    setState(entry.item, "failed", "Not sent");
    alertUser(`“${entry.file.name}” can't be read any more.`);
    return pump();
  }
  if (inFlight !== entry || !entered) return; // the connection was lost meanwhile
  Object.assign(entry, { content, next: 0 });
  sendPieces(entry, 0);
}

/* Send the next pieces of a file, of which the server has the first `arrived` bytes. */
function sendPieces(entry, arrived) {
  const { id, file, width, height, content } = entry;
  const size = content.byteLength;
  entry.progress.value = arrived / size;
  const end = Math.min(size, arrived ? arrived + PIECES_AHEAD * limits.piece : limits.piece);
  for (; entry.next < end; entry.next += limits.piece) {
    const start = entry.next;
    const first = start ? {} : { name: file.name, width, height };
    const header = { type: "file", id, start, size, ...first };
    connection.sendPiece(header, content.slice(start, start + limits.piece));
  }
}

function sendMore({ id, start }) {
  if (inFlight?.id === id && inFlight.content) sendPieces(inFlight, start);
}

$("attach").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  const files = [...$("file").files];
  $("file").value = "";
  attach(files);
});
document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (!files.length) return;
  event.preventDefault();
  attach(files);
});
const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  $("drop").hidden = false;
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("drop").hidden = true;
});
document.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  $("drop").hidden = true;
  attach(event.dataTransfer.files);
});

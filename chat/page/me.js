"use strict";

/* The person's identity and name, which are remembered. */

/* Storage may be missing or full; then values last only as long as the page. */
function remember(storage, key, value) {
  try {
    storage()[value === null ? "removeItem" : "setItem"](`chat.${key}`, value);
  } catch {}
}
function remembered(storage, key) {
  try {
    return storage().getItem(`chat.${key}`);
  } catch {
    return null;
  }
}
const tab = () => sessionStorage;
const browser = () => localStorage;

const randomId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");

function guestName() {
  const pick = (words) => words[Math.floor(Math.random() * words.length)];
  const kind = pick("Amber Brave Calm Clever Gentle Happy Kind Lucky Merry Quick Quiet Sunny".split(" "));
  const animal = pick("Badger Finch Fox Hare Heron Lynx Marten Otter Owl Robin Seal Wren".split(" "));
  return `${kind} ${animal} ${10 + Math.floor(Math.random() * 990)}`;
}

const nameInput = $("name");
const me = { key: null, id: null, name: null };
let first = false; // this tab is the one that has the browser's identity

/* The browser's identity belongs to one tab at a time: two tabs are two people. */
async function identify() {
  const own = remembered(tab, "key");
  const shared = remembered(browser, "key");
  if (own && own !== shared) first = false;
  else first = await lockIdentity(Boolean(own));
  me.key = own || (first && shared) || randomId();
  me.name = remembered(tab, "name") || (first || !navigator.locks ? remembered(browser, "name") : null) || guestName();
  remember(tab, "key", me.key);
  if (first) remember(browser, "key", me.key);
}

function lockIdentity(wait) {
  return new Promise((resolve) => {
    if (wait) resolve(true); // this tab has it already; after a reload it waits for its own lock
    const hold = (lock) => {
      resolve(Boolean(lock));
      return lock && new Promise(() => {}); // until the tab is closed
    };
    const request = navigator.locks?.request("chat.identity", { ifAvailable: !wait }, hold);
    if (request) request.catch(() => resolve(false));
    else resolve(false);
  });
}

function setName(name, chosen) {
  me.name = name;
  remember(tab, "name", name);
  if (first || chosen) remember(browser, "name", name);
  if (document.activeElement !== nameInput) nameInput.value = name; // else it is being edited
  showMe();
}

function showMe() {
  if (me.id) paint($("my-avatar"), me);
  $("my-name").textContent = me.name;
}

function changeName() {
  const name = nameInput.value.trim();
  if (!name) nameInput.value = me.name;
  else if (name !== me.name) {
    setName(name, true);
    connection.send({ type: "rename", name });
  }
}
nameInput.addEventListener("change", changeName);
$("me").addEventListener("submit", (event) => {
  event.preventDefault();
  changeName();
  nameInput.blur();
});

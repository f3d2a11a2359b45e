"use strict";

/* The contents of files, fetched when they are needed: one file at a time, piece by piece. */

const contents = new Map(); // promises of blobs, by file
let fetching = null;
let queue = Promise.resolve();

function contentOf(file) {
  if (!contents.has(file.id)) {
    const content = queue.then(() => new Promise((resolve, reject) => fetchFile(file, resolve, reject)));
    contents.set(file.id, content);
    content.catch(() => contents.delete(file.id));
    queue = content.catch(() => {});
  }
  return contents.get(file.id);
}

function fetchFile(file, resolve, reject) {
  const pieces = [];
  let start = 0;
  const ask = () => entered && connection.send({ type: "get", file: file.id, start });
  fetching = {
    ask, // again, after a reconnect
    add(header, bytes) {
      if (header.file !== file.id || header.start !== start) return;
      pieces.push(bytes);
      start += bytes.length;
      if (start < header.size && bytes.length) return ask();
      fetching = null;
      resolve(new Blob(pieces, { type: file.type }));
    },
    refuse(text, retry) {
      if (retry) return setTimeout(ask, retry * 1000);
      fetching = null;
      reject(new Error(text));
    },
  };
  ask();
}

const IMAGE = /^image\/(png|jpeg|gif|webp|avif)$/;
const comingIntoView = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach(({ target }) => loadImage(target)),
  { root: log, rootMargin: "400px" },
);

function bodyOf(file) {
  if (IMAGE.test(file.type)) {
    const frame = imageBody(file);
    frame.file = file;
    frame.addEventListener("click", () => view(frame));
    comingIntoView.observe(frame);
    return frame;
  }
  const link = fileBody(file);
  link.addEventListener("click", (event) => {
    event.preventDefault();
    download(file);
  });
  return link;
}

async function loadImage(frame) {
  comingIntoView.unobserve(frame);
  try {
    const image = el("img", { src: URL.createObjectURL(await contentOf(frame.file)), alt: frame.file.name });
    await image.decode();
    frame.append(image);
    frame.removeAttribute("aria-label");
  } catch {
    frame.replaceChildren(bdi(frame.file.name), " can't be shown");
    frame.removeAttribute("aria-label");
  }
  follow();
}

async function download(file) {
  try {
    const url = URL.createObjectURL(await contentOf(file));
    el("a", { href: url, download: file.name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch (error) {
    alertUser(error.message);
  }
}

function view(frame) {
  const image = frame.querySelector("img");
  if (!image) return;
  const { file } = frame;
  Object.assign($("viewer").querySelector("img"), { src: image.src, alt: file.name });
  Object.assign($("viewer").querySelector("a"), { href: image.src, download: file.name });
  $("viewer").showModal();
}
$("viewer").addEventListener("click", (event) => event.target === $("viewer") && $("viewer").close());

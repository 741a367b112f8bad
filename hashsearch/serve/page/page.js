// The page of hashsearch. The address says what is searched with and how, so that it can be
// shared and gone back to; an answer of the server is drawn whole. Nothing is kept but this
// session's photos and, where the server asks for one, its API key.

/**
 * @typedef {object} Wanted  What the address says.
 * @property {string | null} gallery  null: the default one
 * @property {string | null} id  a gallery item to search with
 * @property {string | null} code  the hex of a whole code to search with: that of a photo
 * @property {number} k  how many matches
 * @property {number} radius  of the ball, in bits
 * @property {string[]} labels  only these types; none: all
 * @property {string[]} where  conditions, `column=value`
 * @property {boolean} distinct  each duplicate once
 *
 * @typedef {object} Item
 * @property {string} id
 * @property {string | null} label
 * @property {string} code  hex; bit i is `(byte[i >> 3] >> (i & 7)) & 1`
 * @property {Record<string, string | null>} columns
 * @property {string | null} image  address of the picture as it is
 * @property {string | null} thumbnail  address of a small one
 *
 * @typedef {Item & {distance: number, full_distance: number}} Match
 *
 * @typedef {object} Answer
 * @property {string} gallery
 * @property {string} generation
 * @property {{id: string | null, label: string | null, code: string}} query
 * @property {number} searched  items after filters
 * @property {Match[]} matches  best first
 * @property {number[]} histogram  items at distance 0, 1, …
 * @property {string[]} missing_shards  whose items are not among the matches
 * @property {Record<string, number>} timing_ms
 *
 * @typedef {{name: string, items: number, n_bits: number, fine_bits: number,
 *   distinct_codes: number, labels: {label: string, items: number}[], takes_images: boolean,
 *   generation: string}} Gallery
 * @typedef {"push" | "replace" | "none"} Entry  what a search does to the history
 * @typedef {{wanted: Wanted, file?: File, entry: Entry}} Search
 */

const FEW = 24; // matches at first, and further ones at a time
const MOST = 1000; // matches that the server gives
const TYPES_SHOWN = 12;
const TINY = 64; // pixels: smaller pictures are drawn as squares, not blurred
const DWELL = 150; // milliseconds that a match is pointed at before its code is shown
const PATIENCE = 5; // times that a busy server is asked
const LARGE = 4 * 2 ** 20; // bytes of a photo, and
const MANY = 12e6; // pixels, above which it is sent smaller,
const SIDE = 2048; // pixels of its longest side
const KEY = "hashsearch-api-key";
const SVG = new Set(["svg", "path", "rect", "title"]);

/** @type {Gallery[]} */
let galleries = [];
/** @type {Wanted} */
let current = readAddress();
/** @type {Answer | null} */
let shown = null;
/** @type {Map<string, {url: string, name: string}>} photos of this session, by gallery and code */
const photos = new Map();
/** @type {Map<string, HTMLElement>} pictures of the matches, by id, so that none is loaded again */
let pictures = new Map();
let compared = ""; // id of the match whose code is shown
let allTypes = false;

// Building blocks

/** @param {string} id @returns {any} the element; its kind stands in the HTML */
const at = (id) => document.getElementById(id);

/**
 * An element. Strings among its children become text, whatever they contain.
 * @param {string} tag @param {Record<string, string | number>} attributes
 * @param {...(Node | string)} children @returns {any}
 */
function el(tag, attributes = {}, ...children) {
  const made = SVG.has(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/** @param {string} text @param {() => void} act @returns {HTMLButtonElement} */
function button(text, act) {
  const made = el("button", { type: "button", class: "quiet" }, text);
  made.addEventListener("click", act);
  return made;
}

/** @param {number} number */
const grouped = (number) => number.toLocaleString("en");

/** @param {number} number @param {string} one */
const count = (number, one) => `${grouped(number)} ${one}${number === 1 ? "" : "s"}`;

/** @param {string[]} texts @param {string} text */
const toggled = (texts, text) =>
  texts.includes(text) ? texts.filter((each) => each !== text) : [...texts, text];

/** @param {string} hex @returns {number[]} a 0 or 1 for each bit */
function bitsOf(hex) {
  const bytes = (hex.match(/../g) ?? []).map((byte) => parseInt(byte, 16));
  return bytes.flatMap((byte) => Array.from({ length: 8 }, (_, bit) => (byte >> bit) & 1));
}

/** A square of a path. @param {number} x @param {number} y */
const square = (x, y) => `M${x + 0.06} ${y + 0.06}h.88v.88h-.88z`;

// The address

/** @returns {Wanted} */
function readAddress() {
  const query = new URLSearchParams(location.search);
  /** @type {(name: string, least: number, most: number, unless: number) => number} */
  const whole = (name, least, most, unless) => {
    const text = query.get(name) ?? "";
    return /^\d{1,6}$/.test(text) ? Math.min(Math.max(Number(text), least), most) : unless;
  };
  return {
    gallery: query.get("gallery"),
    id: query.get("id"),
    code: query.has("id") ? null : query.get("code"),
    k: whole("k", 1, MOST, FEW),
    radius: whole("radius", 0, 1e6, 2),
    labels: query.getAll("label"),
    where: query.getAll("where"),
    distinct: query.get("distinct") === "true",
  };
}

/** By the names that the server uses, without what is as usual. @param {Wanted} wanted */
function writeAddress(wanted) {
  const query = new URLSearchParams();
  const [first] = galleries;
  const gallery = wanted.gallery ?? first?.name;
  // The default is the gallery that was written last: a shared address names its own.
  if (gallery !== first?.name || wanted.id !== null || wanted.code !== null) {
    query.set("gallery", gallery);
  }
  if (wanted.id !== null) query.set("id", wanted.id);
  if (wanted.code !== null) query.set("code", wanted.code);
  if (wanted.k !== FEW) query.set("k", String(wanted.k));
  if (wanted.radius !== 2) query.set("radius", String(wanted.radius));
  for (const label of wanted.labels) query.append("label", label);
  for (const condition of wanted.where) query.append("where", condition);
  if (wanted.distinct) query.set("distinct", "true");
  const text = query.toString();
  return text ? `/?${text}` : "/";
}

/** The address of a search with an item, in the gallery that is shown. @param {string} id */
const addressOf = (id) => writeAddress({ ...current, id, code: null, k: FEW });

/** @param {Wanted} wanted @param {Entry} entry */
function remember(wanted, entry) {
  current = wanted;
  if (entry === "push" && writeAddress(wanted) !== location.pathname + location.search) {
    history.replaceState({ scroll: scrollY }, "");
    history.pushState(null, "", writeAddress(wanted));
  } else if (entry !== "none") {
    history.replaceState(history.state, "", writeAddress(wanted));
  }
}

// The server

/** What a person is told where there is no answer; `lasting`: the same would fail again. */
class Failure extends Error {
  /** @param {string} title @param {string} detail @param {boolean} lasting */
  constructor(title, detail, lasting = false) {
    super(detail);
    this.title = title;
    this.lasting = lasting;
  }
}

const LOST = new Failure(
  "The server does not answer",
  "See whether “hashsearch serve” still runs, and whether you are connected to it.",
);
const TITLES = new Map([
  [404, "That is not here"],
  [413, "That photo is too large"],
  [422, "That cannot be searched with"],
]);

/** @param {string} path @param {RequestInit} options @returns {Promise<Response>} a good answer */
async function api(path, options = {}) {
  for (let asked = 1; ; asked++) {
    const key = sessionStorage.getItem(KEY);
    const headers = new Headers(key === null ? {} : { Authorization: `Bearer ${key}` });
    const response = await fetch(path, { ...options, headers }).catch(() => {
      options.signal?.throwIfAborted();
      throw LOST;
    });
    if (response.ok) {
      if (asked > 1) hush(); // it was said that the server is busy
      return response;
    }
    if (response.status === 401) {
      // Another request may have been given a key while this one was on its way.
      if (key === sessionStorage.getItem(KEY)) await askForKey(key !== null);
    } else if (response.status === 503 && asked < PATIENCE) {
      const seconds = Number(response.headers.get("Retry-After")) || 1;
      say("The server is busy", `It is asked again in ${count(seconds, "second")}.`);
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      options.signal?.throwIfAborted();
    } else {
      const { detail } = await response.json().catch(() => ({}));
      const title = TITLES.get(response.status) ?? "The server could not do that";
      const said = typeof detail === "string" ? detail : `Status ${response.status}.`;
      throw new Failure(title, said, TITLES.has(response.status));
    }
  }
}

/** @type {Promise<void> | null} one question at a time, whoever waits for its answer */
let question = null;

/** @param {boolean} refused  the server did not accept the key that there was */
function askForKey(refused) {
  sessionStorage.removeItem(KEY);
  at("key-said").textContent = refused
    ? "It did not accept that key. Type it again."
    : "Whoever runs it can give you one. It is kept until you close this tab.";
  question ??= new Promise((resolve, reject) => {
    at("key-form").onsubmit = () => sessionStorage.setItem(KEY, at("key").value);
    at("key-dialog").onclose = () => {
      at("key").value = "";
      question = null;
      if (sessionStorage.getItem(KEY) !== null) resolve();
      else reject(new Failure("This server asks for a key", "Without one it gives no answer."));
    };
    at("key-dialog").showModal();
  });
  return question;
}

/** @type {AbortController | null} of the search that is on its way */
let underWay = null;
/** @type {Search | null} that comes after it */
let next = null;
/** @type {Promise<void> | null} done when no search is left */
let searching = null;

/**
 * Search, and show what was found. The latest search wins. Those of a slider are patient: they
 * wait for the answer under way, so that the server is asked no faster than it answers.
 * @param {Search} wanted @param {boolean} patient
 */
function search(wanted, patient = false) {
  next = wanted;
  if (!patient) underWay?.abort();
  searching ??= searchAll();
  return searching;
}

async function searchAll() {
  const slow = setTimeout(() => (at("progress").hidden = false), 200);
  at("results").setAttribute("aria-busy", "true");
  while (next !== null) {
    const asked = next;
    next = null;
    underWay = new AbortController();
    const { signal } = underWay;
    try {
      const answer = await ask(asked, signal);
      if (next === null && !signal.aborted) show(answer, asked);
    } catch (error) {
      if (!signal.aborted) complain(error, () => search(asked), asked);
    }
  }
  underWay = searching = null;
  clearTimeout(slow);
  at("progress").hidden = true;
  at("results").removeAttribute("aria-busy");
}

/** @param {Search} search @param {AbortSignal} signal @returns {Promise<Answer>} */
async function ask({ wanted, file }, signal) {
  const body = new FormData();
  if (file) body.set("image", await lightened(file), file.name);
  else if (wanted.id !== null) body.set("id", wanted.id);
  else body.set("code", wanted.code ?? "");
  body.set("gallery", galleryOf(wanted).name);
  body.set("k", String(wanted.k));
  body.set("radius", String(wanted.radius));
  for (const label of wanted.labels) body.append("label", label);
  for (const condition of wanted.where) body.append("where", condition);
  if (wanted.distinct) body.set("distinct", "true");
  return (await api("/api/search", { method: "POST", body, signal })).json();
}

/**
 * A photo as it is sent: what a phone takes may be larger than the server reads, and an encoder
 * sees few of its pixels. What the browser cannot draw goes as it is; the server says what it is.
 * @param {File} file @returns {Promise<Blob>}
 */
async function lightened(file) {
  const photo = new Image();
  photo.src = URL.createObjectURL(file);
  try {
    await new Promise((resolve, reject) => {
      photo.onload = resolve;
      photo.onerror = reject;
    });
    const { naturalWidth, naturalHeight } = photo; // as its orientation says
    if (file.size <= LARGE && naturalWidth * naturalHeight <= MANY) return file;
    const scale = Math.min(SIDE / Math.max(naturalWidth, naturalHeight), 1);
    const canvas = el("canvas", {
      width: Math.max(Math.round(naturalWidth * scale), 1),
      height: Math.max(Math.round(naturalHeight * scale), 1),
    });
    const context = canvas.getContext("2d");
    context.fillStyle = "white"; // a JPEG has no transparency
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingQuality = "high";
    context.drawImage(photo, 0, 0, canvas.width, canvas.height);
    const smaller = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
    return smaller ?? file; // null: the browser has no memory for it
  } catch {
    return file;
  } finally {
    URL.revokeObjectURL(photo.src);
  }
}

/** @param {Wanted} wanted @returns {Gallery} */
function galleryOf({ gallery }) {
  const found = gallery === null ? galleries[0] : galleries.find(({ name }) => name === gallery);
  if (found) return found;
  const names = galleries.map(({ name }) => name).join(", ");
  throw new Failure("That gallery is not here", `There is no ${gallery}; there is ${names}.`, true);
}

// Notices

/** @param {string} title @param {string} detail @param {HTMLElement[]} mends */
function say(title, detail, ...mends) {
  // The lines of the service begin as those of a command line do.
  const sentence = detail.charAt(0).toUpperCase() + detail.slice(1);
  const text = [el("strong", {}, title), el("p", {}, sentence)];
  at("notice").replaceChildren(el("div", {}, ...text, ...mends, button("Dismiss", hush)));
  at("notice").scrollIntoView({ block: "nearest" });
}

function hush() {
  at("notice").replaceChildren();
}

/**
 * @param {unknown} error
 * @param {() => void} act  what to do when the person says so
 * @param {Search} [asked]  what failed, if it was a search
 */
function complain(error, act, asked) {
  const again = button("Try again", () => {
    hush();
    act();
  });
  if (!(error instanceof Failure)) {
    say("Something went wrong on this page", String(error), again);
    reportError(error);
    return;
  }
  const { title, message, lasting } = error;
  if (!lasting) {
    say(title, message, again);
  } else if (asked?.file) {
    say(`${asked.file.name} cannot be searched with`, message, button("Choose another", choose));
  } else if (asked && (asked.wanted.labels.length || asked.wanted.where.length)) {
    const all = button("Clear the filters", () => change({ labels: [], where: [] }));
    say(title, message, all);
  } else {
    say(title, message);
  }
}

// Where to begin

/** @param {"no-gallery" | "start" | "found"} name */
function view(name) {
  document.body.dataset.view = name;
}

/** A photo may be chosen before the page is; it waits for this. */
let ready = Promise.resolve();

function begin() {
  ready = fetchGalleries();
  return ready;
}

async function fetchGalleries() {
  try {
    galleries = (await (await api("/api/galleries")).json()).galleries;
    if (galleries.length === 0) view("no-gallery");
    else await follow();
  } catch (error) {
    complain(error, begin);
  }
}

/** Show what the address says. */
async function follow() {
  current = readAddress();
  const scroll = history.state?.scroll ?? 0;
  try {
    const gallery = galleryOf(current);
    current.radius = Math.min(current.radius, gallery.n_bits);
    introduce(gallery);
    if (current.id !== null || current.code !== null) {
      await search({ wanted: current, entry: "none" });
      if (shown === null) await offer(current);
    } else {
      next = null;
      underWay?.abort();
      await offer(current);
    }
    scrollTo(0, scroll);
  } catch (error) {
    complain(error, follow);
    if (document.body.dataset.view !== "loading") return;
    // The gallery of the address is gone, but there are others.
    current = { ...current, gallery: null, id: null, code: null };
    introduce(galleries[0]);
    await offer(current);
  }
}

/** @param {Gallery} gallery */
function introduce(gallery) {
  at("gallery").replaceChildren(...galleries.map(({ name }) => el("option", {}, name)));
  at("gallery").value = gallery.name;
  at("gallery-choice").hidden = galleries.length < 2;
  at("gallery-size").textContent = count(gallery.items, "item");
  document.body.classList.toggle("takes-photos", gallery.takes_images);
}

/** The first view, with some items to try. @param {Wanted} wanted */
async function offer(wanted) {
  shown = null;
  document.title = "hashsearch";
  at("samples").replaceChildren();
  view("start");
  const gallery = encodeURIComponent(galleryOf(wanted).name);
  const { samples } = await (await api(`/api/samples?gallery=${gallery}`)).json();
  const tiles = samples.map((/** @type {Item} */ item) => {
    const label = el("span", { class: "label" }, nameOf(item));
    return linked(item, framed(item.thumbnail, "", nameOf(item)), label);
  });
  at("samples").replaceChildren(...tiles);
  at("samples-title").hidden = samples.length === 0;
}

/** @param {{id: string | null, label: string | null}} item */
const nameOf = ({ id, label }) => label ?? id ?? "";

/** A list's link that searches with an item. @param {Item} item @param {HTMLElement[]} children */
const linked = ({ id }, ...children) =>
  el("li", {}, el("a", { href: addressOf(id), "data-id": id }, ...children));

/**
 * A picture in its frame, or words where there is none or it cannot be had.
 * @param {string | null} url @param {string} alt @param {string} words @returns {HTMLElement}
 */
function framed(url, alt, words) {
  const frame = el("span", { class: "frame" });
  const without = () => frame.replaceChildren(el("span", { class: "words" }, words));
  if (url === null) {
    without();
    return frame;
  }
  const image = el("img", { alt, loading: "lazy", decoding: "async" });
  image.addEventListener("error", without);
  image.addEventListener("load", () => {
    image.classList.toggle("tiny", Math.max(image.naturalWidth, image.naturalHeight) <= TINY);
  });
  frame.append(image);
  if (sessionStorage.getItem(KEY) === null || url.startsWith("blob:")) image.src = url;
  else fetchPicture(url, image).catch(without);
  return frame;
}

/** An `img` cannot send a key. @param {string} url @param {HTMLImageElement} image */
async function fetchPicture(url, image) {
  const local = URL.createObjectURL(await (await api(url)).blob());
  image.addEventListener("load", () => URL.revokeObjectURL(local), { once: true });
  image.src = local;
}

// What was found

/** @param {Answer} answer @param {Search} search */
function show(answer, { wanted, file, entry }) {
  const { gallery, query } = answer;
  if (file) {
    photos.set(gallery + query.code, { url: URL.createObjectURL(file), name: file.name });
    wanted = { ...wanted, code: query.code };
  }
  // Ids and pictures mean nothing in another gallery, or in its next generation.
  const alike = shown?.gallery === gallery && shown.generation === answer.generation;
  const before = alike ? shown : null;
  if (!alike) pictures = new Map();
  const same = before?.query.code === query.code && before.query.id === query.id;
  shown = answer;
  remember(wanted, entry);
  hush();
  view("found");
  if (!same) showQuery(answer, before?.matches.find(({ id }) => id === query.id));
  showControls(galleryOf(wanted));
  showMatches(wanted.radius);
  compare(same ? compared : "");
  showTiming(answer);
  at("status").textContent = at("outcome").textContent;
  if (!same && entry === "push") {
    scrollTo(0, 0);
    at("query-name").focus({ preventScroll: true });
  }
  if (answer.generation !== galleryOf(wanted).generation) refresh(wanted).catch(() => {});
}

/** The gallery's file has changed, so its counts and types may have. @param {Wanted} wanted */
async function refresh(wanted) {
  galleries = (await (await api("/api/galleries")).json()).galleries;
  introduce(galleryOf(wanted));
  showControls(galleryOf(wanted));
}

/** @param {Answer} answer @param {Item | undefined} known  the item, where it was a match */
async function showQuery({ gallery, query }, known) {
  const photo = photos.get(gallery + query.code);
  const name = query.id !== null ? nameOf(query) : photo ? "Your photo" : "A shared photo";
  at("query-kind").textContent = query.id === null ? "Found for" : "More like";
  at("query-name").textContent = name;
  document.title = `${name} · hashsearch`;
  if (query.id === null) {
    const picture = photo ? framed(photo.url, photo.name, name) : pattern(query.code);
    at("query-picture").replaceChildren(picture);
    return;
  }
  at("query-picture").replaceChildren(framed(null, "", ""));
  const path = `/api/items/${encodeURIComponent(query.id)}?gallery=${encodeURIComponent(gallery)}`;
  const item = known ?? (await api(path).then((got) => got.json()).catch(() => null));
  if (shown?.query.id !== query.id) return;
  const url = item?.image ?? item?.thumbnail ?? null;
  at("query-picture").replaceChildren(framed(url, query.id, query.id));
}

/** A code as a square of its bits, where nothing else is known of a photo. @param {string} hex */
function pattern(hex) {
  const bits = bitsOf(hex);
  const side = Math.ceil(Math.sqrt(bits.length));
  const ones = bits.map((bit, i) => (bit ? square(i % side, Math.floor(i / side)) : ""));
  const box = { class: "pattern", viewBox: `-1 -1 ${side + 2} ${side + 2}` };
  return el("span", { class: "frame" }, el("svg", box, el("path", { d: ones.join("") })));
}

/** @param {Gallery} gallery */
function showControls(gallery) {
  at("distinct").checked = current.distinct;
  at("types").hidden = gallery.labels.length < 2;
  const choices = gallery.labels.flatMap(({ label, items }, place) => {
    const chosen = current.labels.includes(label);
    if (place >= TYPES_SHOWN && !allTypes && !chosen) return [];
    const chip = button(label, () => change({ labels: toggled(current.labels, label) }));
    chip.setAttribute("aria-pressed", String(chosen));
    chip.append(" ", el("small", {}, grouped(items)));
    return [chip];
  });
  if (choices.length < gallery.labels.length) {
    choices.push(button(`All ${gallery.labels.length} types`, () => {
      allTypes = true;
      showControls(gallery);
    }));
  }
  const conditions = current.where.map((condition) => {
    const where = current.where.filter((each) => each !== condition);
    const chip = button(`${condition} ×`, () => change({ where }));
    chip.setAttribute("aria-label", `Do not ask for ${condition}`);
    return chip;
  });
  replaceKeepingFocus(at("type-choices"), choices);
  replaceKeepingFocus(at("conditions"), conditions);
}

/** The focus stays at its place. @param {HTMLElement} list @param {HTMLElement[]} children */
function replaceKeepingFocus(list, children) {
  const place = [...list.children].findIndex((child) => child === document.activeElement);
  list.replaceChildren(...children);
  if (place >= 0) children[Math.min(place, children.length - 1)]?.focus();
}

/**
 * Draw the matches that are known, by a radius: for a moment the one that the slider has come
 * to. How many items lie within it, the histogram says before the server does.
 * @param {number} radius  in bits
 */
function showMatches(radius) {
  const answer = /** @type {Answer} */ (shown);
  const { matches, histogram, searched } = answer;
  const { n_bits } = galleryOf(current);
  const inside = histogram.slice(0, radius + 1).reduce((total, items) => total + items, 0);
  // The slider reaches to the farthest item, so that its right end is: everything.
  const farthest = histogram.findLastIndex((items) => items > 0);
  const reach = Math.min(Math.max(farthest, radius, 4), n_bits);
  const slider = at("radius");
  slider.max = reach;
  slider.value = radius;
  const said = `${count(radius, "bit")}, ${count(inside, "item")} inside`;
  slider.setAttribute("aria-valuetext", said);
  at("radius-said").textContent = count(radius, "bit");
  at("reach").textContent = `${reach}: everything`;
  drawHistogram(histogram, radius, reach);
  showOutcome(inside, radius, answer);

  const kept = pictures;
  pictures = new Map(matches.map((match) => {
    const url = match.thumbnail ?? match.image;
    return [match.id, kept.get(match.id) ?? framed(url, "", nameOf(match))];
  }));
  const near = matches.filter(({ distance }) => distance <= radius);
  const far = matches.filter(({ distance }) => distance > radius);
  at("ball").hidden = near.length === 0;
  at("beyond").hidden = far.length === 0;
  at("ball-said").textContent =
    near.length < inside ? `the first ${near.length} of ${grouped(inside)}` : count(inside, "item");
  at("beyond-said").textContent = `more than ${count(radius, "bit")} away`;
  at("ball-matches").replaceChildren(...near.map(tile));
  at("beyond-matches").replaceChildren(...far.map(tile));
  at("more").hidden = matches.length < current.k || matches.length >= Math.min(searched, MOST);
}

/** @param {number} inside  items within the radius @param {number} radius @param {Answer} answer */
function showOutcome(inside, radius, { searched, histogram, missing_shards: missing }) {
  const within = `within ${count(radius, "bit")}`;
  if (inside > 0) {
    const all = ` of ${count(searched, "item")} ${inside === 1 ? "lies" : "lie"} ${within}.`;
    at("outcome").replaceChildren(el("strong", {}, grouped(inside)), all);
  } else {
    const nearest = histogram.findIndex((items) => items > 0);
    const widen = button(`Widen to ${nearest}`, () => change({ radius: nearest }, "replace"));
    const nothing = `Nothing lies ${within}; the nearest item is ${nearest} away. `;
    at("outcome").replaceChildren(nothing, widen);
  }
  if (missing.length > 0) {
    at("outcome").append(` Without the matches of ${missing.join(", ")}, which did not answer.`);
  }
}

/** @param {Match} match */
function tile(match) {
  const parts = [pictures.get(match.id), barcode(match.code),
    el("span", { class: "label" }, nameOf(match))];
  if (match.label !== null) parts.push(el("span", { class: "id" }, el("bdi", {}, match.id)));
  parts.push(el("span", { class: "distances" }, el("span", {}, "distance "),
    el("b", {}, String(match.distance)), ` · whole ${match.full_distance}`));
  return linked(match, ...parts);
}

/** @param {number[]} histogram @param {number} radius @param {number} reach  bits, as radius */
function drawHistogram(histogram, radius, reach) {
  const most = Math.max(...histogram, 1);
  const chart = at("histogram");
  const said = histogram.flatMap((items, bits) => (items ? [`${items} at ${bits}`] : []));
  chart.setAttribute("aria-label", `Items by their distance in bits: ${said.join(", ")}`);
  chart.setAttribute("viewBox", `0 0 ${reach + 1} 100`);
  chart.parentElement.style.setProperty("--bars", String(reach + 1));
  const bars = histogram.slice(0, reach + 1).map((items, bits) => {
    const height = items && Math.max((items / most) * 96, 3);
    const title = el("title", {}, `distance ${bits}: ${count(items, "item")}`);
    const kind = bits <= radius ? "inside" : "outside";
    return el("rect", { class: kind, x: bits + 0.1, width: 0.8, y: 100 - height, height }, title);
  });
  const ball = el("rect", { class: "ball", x: 0, width: radius + 1, y: 0, height: 100 });
  chart.replaceChildren(ball, ...bars);
}

// Why these?

/** A semantic code in one line, marked where it differs from the query's. @param {string} code */
function barcode(code) {
  const { n_bits } = galleryOf(current);
  const own = bitsOf(/** @type {Answer} */ (shown).query.code);
  const its = bitsOf(code).slice(0, n_bits);
  const ones = its.map((bit, i) => (bit && own[i] ? square(i, 0) : ""));
  const differing = its.map((bit, i) => (bit === own[i] ? "" : square(i, 0)));
  const line = { class: "barcode", viewBox: `0 0 ${n_bits} 1`, preserveAspectRatio: "none" };
  return el("svg", { ...line, "aria-hidden": "true" },
    el("path", { class: "ones", d: ones.join("") }),
    el("path", { class: "differing", d: differing.join("") }));
}

/** Show the code of a match, or of the first, beside the query's. @param {string} id */
function compare(id) {
  const { matches, query } = /** @type {Answer} */ (shown);
  const place = Math.max(matches.findIndex((match) => match.id === id), 0);
  const match = matches[place];
  at("comparison").hidden = !match;
  if (!match) return;
  compared = match.id;
  const { n_bits, fine_bits } = galleryOf(current);
  at("compared-picture").replaceChildren(framed(match.thumbnail ?? match.image, "", ""));
  at("compared-name").textContent = nameOf(match);
  at("compared-place").textContent = `${match.id}, match ${place + 1} of ${matches.length}`;
  at("bits-said").textContent = fine_bits
    ? `${n_bits + fine_bits} bits, ${n_bits} of a semantic code and ${fine_bits} of a fine one`
    : `${n_bits} bits of a semantic code`;
  const [own, its] = [bitsOf(query.code), bitsOf(match.code)];
  const strips = [strip("Semantic code", own.slice(0, n_bits), its.slice(0, n_bits))];
  if (fine_bits) strips.push(strip("Fine code", own.slice(n_bits), its.slice(n_bits)));
  at("strips").replaceChildren(...strips);
  at("columns").replaceChildren(...Object.entries(match.columns).flatMap(([name, value]) => {
    if (value === null) return [];
    const condition = `${name}=${value}`;
    const only = button(value, () => change({ where: toggled(current.where, condition) }));
    only.setAttribute("aria-label", `Only items with ${condition}`);
    return [el("dt", {}, name), el("dd", {}, only)];
  }));
}

/**
 * Bits of the query above those of a match.
 * @param {string} name @param {number[]} own @param {number[]} its
 */
function strip(name, own, its) {
  const differing = own.flatMap((bit, i) => (bit === its[i] ? [] : [i]));
  const said = `${differing.length} of ${own.length} bits differ`;
  const where = differing.length ? `, at ${differing.join(", ")}` : "";
  const bits = own.map((bit, i) => {
    const kinds = [bit ? "above" : "", its[i] ? "one" : "", bit === its[i] ? "" : "differs"];
    return el("span", { class: ["bit", ...kinds].join(" ").trim() });
  });
  return el("figure", {},
    el("figcaption", {}, el("b", {}, name), ` ${said}`),
    el("div", { class: "bits", role: "img", "aria-label": `${name}: ${said}${where}` }, ...bits));
}

/** @param {Answer} answer */
function showTiming({ timing_ms, searched }) {
  const { total, ...steps } = timing_ms;
  at("timing").textContent = `${count(searched, "item")} in ${total.toPrecision(2)} ms`;
  const taken = Object.entries(steps).filter(([, ms]) => ms > 0);
  const rows = taken.map(([step, ms]) => [step, `${ms.toPrecision(2)} ms`]);
  rows.push(["distinct codes", grouped(galleryOf(current).distinct_codes)]);
  const said = rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
  at("steps").replaceChildren(...said);
}

// What people do

/** Search with the same again, otherwise. @param {Partial<Wanted>} changes @param {Entry} entry */
function change(changes, entry = "push") {
  search({ wanted: { ...current, ...changes }, entry });
}

/** Go to the first view. @param {string | null} gallery */
function restart(gallery) {
  const nothing = { id: null, code: null, k: FEW, labels: [], where: [] };
  remember({ ...current, ...nothing, gallery }, "push");
  follow();
}

/** @param {Iterable<File>} files  of which the first is searched with */
async function searchPhoto(files) {
  const [file] = files;
  await ready;
  if (!file || galleries.length === 0) return;
  if (galleryOf(current).takes_images) {
    const wanted = { ...current, id: null, code: null, k: FEW };
    search({ wanted, file, entry: "push" });
  } else {
    say("This gallery takes no photos", "Its encoder is not at hand; search with an item of it.");
  }
}

function choose() {
  at("choose").click();
}

/** @param {number} by */
function step(by) {
  const { matches } = /** @type {Answer} */ (shown);
  const place = matches.findIndex(({ id }) => id === compared) + by + matches.length;
  compare(matches[place % matches.length].id);
}

/** @type {Record<string, () => void>} by `data-action` */
const ACTIONS = {
  choose,
  camera: () => at("camera").click(),
  more: () => change({ k: Math.min(current.k + FEW, MOST) }, "replace"),
  previous: () => step(-1),
  next: () => step(1),
  skip: () => at(shown ? "results" : "main").focus(),
  reload: () => location.reload(),
  home: () => (galleries.length ? restart(current.gallery) : begin()),
  "no-key": () => at("key-dialog").close(),
  copy: async () => {
    await navigator.clipboard.writeText(location.href);
    at("status").textContent = at("copy").textContent = "Link copied";
    setTimeout(() => (at("copy").textContent = "Copy link"), 2000);
  },
};

/** @param {Event} event @param {string} selector @returns {HTMLElement | null} */
const around = ({ target }, selector) =>
  target instanceof Element ? target.closest(selector) : null;

document.addEventListener("click", (event) => {
  const pressed = around(event, "[data-action], [data-id]");
  // Links may be opened in a tab of their own.
  if (!pressed || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  const { action, id } = pressed.dataset;
  if (action) ACTIONS[action]();
  else if (id !== undefined) change({ id, code: null, k: FEW });
});

let dwelling = 0; // timer

/** @param {Event} event  a match is pointed at, or has the focus */
function pointAt(event) {
  clearTimeout(dwelling);
  const id = around(event, "#results [data-id]")?.dataset.id;
  if (id === undefined || id === compared) return;
  // On its way to the panel the pointer passes over other matches.
  dwelling = setTimeout(() => shown && compare(id), event.type === "focusin" ? 0 : DWELL);
}
document.addEventListener("pointerover", pointAt);
document.addEventListener("focusin", pointAt);

at("radius").addEventListener("input", () => {
  current = { ...current, radius: at("radius").valueAsNumber };
  showMatches(current.radius);
  search({ wanted: current, entry: "replace" }, true);
});
at("distinct").addEventListener("change", () => change({ distinct: at("distinct").checked }));
at("gallery").addEventListener("change", () => restart(at("gallery").value));
for (const input of [at("choose"), at("camera")]) {
  input.addEventListener("change", () => {
    searchPhoto(input.files);
    input.value = ""; // the same file may be chosen again
  });
}

document.addEventListener("paste", (event) => searchPhoto(event.clipboardData?.files ?? []));
document.addEventListener("dragover", (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  document.body.classList.remove("dragging");
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  searchPhoto(event.dataTransfer.files);
});

addEventListener("popstate", () => (galleries.length ? follow() : begin()));
history.scrollRestoration = "manual";
at("copy").hidden = !navigator.clipboard; // there is one over HTTPS, and on this machine
at("why").open = matchMedia("(min-width: 1000px)").matches;
begin();

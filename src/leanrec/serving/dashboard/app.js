// The page of leanrec: a user's history, the list for them, and what a click changes.

const $ = (id) => document.getElementById(id);
const still = matchMedia("(prefers-reduced-motion: reduce)");
const asker = { id: null, known: false, fresh: new Set() };
let last = { items: [], request: null };
let asked = 0;
let problems = 0;

// ---------------------------------------------------------------- talking to the server

async function call(path, body) {
  const started = performance.now();
  const options = body && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error?.what ?? response.statusText);
  const inside = Number(/dur=([\d.]+)/.exec(response.headers.get("server-timing"))?.[1]);
  return { ...answer, took: { inside, whole: performance.now() - started } };
}

// What goes well clears the problem that was there when it began, never one that came up meanwhile.
async function guarded(work) {
  const before = problems;
  try {
    await work();
    if (problems === before) $("problem").hidden = true;
  } catch (error) {
    problems += 1;
    $("problem").textContent = error.message;
    $("problem").hidden = false;
  }
}

// ---------------------------------------------------------------- small pieces

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function bar(share) {
  const track = make("span", "track");
  const fill = make("span", "fill");
  track.append(fill);
  requestAnimationFrame(() => { fill.style.width = `${Math.max(2, 100 * share)}%`; });
  return track;
}

// A picture where the item has one; until it is there, and where it has none, a tile with initials.
function tile(item) {
  const box = make("span", "tile", item.title.split(/\s+/).slice(0, 2).map((word) => [...word][0] ?? "").join("").toUpperCase());
  box.setAttribute("aria-hidden", "true");
  box.style.setProperty("--hue", [...String(item.id)].reduce((sum, letter) => (31 * sum + letter.codePointAt(0)) % 360, 7));
  if (item.picture) {
    const picture = make("img");
    Object.assign(picture, { loading: "lazy", alt: "", referrerPolicy: "no-referrer", src: item.picture });
    picture.addEventListener("error", () => picture.remove());
    box.append(picture);
  }
  return box;
}

const number = (value) => String(Number(value.toPrecision(3)));
const date = (seconds) => new Date(1000 * seconds).toISOString().slice(0, 10);

// ---------------------------------------------------------------- the asker and their history

async function showHistory() {
  const list = $("history");
  list.replaceChildren();
  $("history-count").textContent = "";
  if (!asker.known) {
    list.append(make("li", "empty", "Nothing yet. Add an item above, or click one in the list."));
    return;
  }
  const { events } = await call(`/users/${encodeURIComponent(asker.id)}?limit=100`);
  $("history-count").textContent = events.length < 100 ? `· ${events.length}` : "· the newest 100";
  for (const event of events) {
    const row = make("li", asker.fresh.has(String(event.id)) ? "fresh" : "");
    const how = event.value === null ? event.kind : `${event.kind} ${number(event.value)}`;
    // Small times are places in an order, not moments.
    row.append(make("span", "", event.title), make("span", "how", event.time > 1e7 ? `${how} · ${date(event.time)}` : how));
    list.append(row);
  }
}

async function choose(id, known = true) {
  Object.assign(asker, { id, known, fresh: new Set() });
  $("user").value = id;
  $("guest").setAttribute("aria-pressed", String(!known));
  for (const button of $("tries").children) button.setAttribute("aria-pressed", String(known && button.textContent === String(id)));
  history.replaceState(null, "", known ? `#${encodeURIComponent(id)}` : "#");
  $("list").replaceChildren();
  $("took").replaceChildren();
  $("change").hidden = $("notice").hidden = true;
  await guarded(async () => { await showHistory(); await askAnew(); });
}

// ---------------------------------------------------------------- the list

function question() {
  const where = $("wanted").value.trim() ? { [$("column").value]: condition($("wanted").value.trim()) } : undefined;
  const who = asker.known ? { user: asker.id } : { history: [] };
  return { ...who, n: Number($("n").value), where };
}

function condition(text) {
  const span = /^(-?[\d.]+)?\s*(?:-|…|\.\.)\s*(-?[\d.]+)?$/.exec(text);
  if (span && (span[1] || span[2]) && !/^-?[\d.]+$/.test(text)) {
    return { ...(span[1] && { min: Number(span[1]) }), ...(span[2] && { max: Number(span[2]) }) };
  }
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
}

// A list for another question is no change of this one.
async function askAnew() {
  last = { items: [], request: null };
  await refresh();
}

async function refresh() {
  const turn = ++asked;
  const answer = await call("/recommend", question());
  if (turn !== asked) return; // a later question has been asked meanwhile
  const took = $("took");
  took.replaceChildren("answered in ", make("b", "", `${answer.took.inside.toFixed(1)} ms`), ` · round trip ${answer.took.whole.toFixed(0)} ms`);
  const notes = [answer.fallback && `Nothing is known of this user yet, so the list comes from ${answer.fallback}.`, answer.note];
  $("notice").textContent = notes.filter(Boolean).join(" ");
  $("notice").hidden = !notes.some(Boolean);
  draw(answer);
}

function draw(answer) {
  const list = $("list");
  const before = new Map([...list.children].map((row) => [row.dataset.id, row.getBoundingClientRect().top]));
  const places = new Map(last.items.map((item, place) => [String(item.id), place]));
  const scores = answer.items.map((item) => item.score);
  const low = Math.min(0, ...scores);
  const span = Math.max(...scores) - low || 1;
  const rows = answer.items.map((item, place) => card(item, place, (item.score - low) / span, places));
  list.replaceChildren(...rows);
  for (const row of rows) slide(row, before.get(row.dataset.id));
  $("change").textContent = places.size ? summary(answer.items, places) : "";
  $("change").hidden = !places.size;
  last = answer;
}

function card(item, place, share, places) {
  const key = String(item.id);
  const row = make("li");
  row.dataset.id = key;
  const name = make("div", "name", item.title);
  if (places.size) mark(row, name, place, places.get(key));
  const score = make("div", "score");
  score.append(bar(share), make("span", "", number(item.score)));
  const click = make("button", "", "Click");
  click.type = "button";
  click.setAttribute("aria-label", `Click ${item.title}`);
  click.addEventListener("click", () => react(item, place, click));
  const why = make("button", "quiet", "Why?");
  why.type = "button";
  why.setAttribute("aria-label", `Why ${item.title}?`);
  why.setAttribute("aria-expanded", "false");
  why.addEventListener("click", () => guarded(() => explain(row, item, why)));
  const acts = make("div", "acts");
  acts.append(why, click);
  row.append(make("span", "place", place + 1), tile(item), name, acts, score, make("div", "why", item.reasons.join(" · ")));
  return row;
}

function mark(row, name, place, was) {
  if (was === undefined) {
    row.classList.add("new");
    name.append(make("span", "badge", "new"));
  } else if (was !== place) {
    const moved = was - place;
    const badge = make("span", "badge", `${moved > 0 ? "▲" : "▼"} ${Math.abs(moved)}`);
    badge.setAttribute("aria-label", `${moved > 0 ? "up" : "down"} ${Math.abs(moved)}`);
    row.classList.add("moved");
    name.append(badge);
  }
}

function slide(row, before) {
  if (still.matches) return;
  const now = row.getBoundingClientRect().top;
  if (before === undefined) row.animate([{ opacity: 0 }, { opacity: 1 }], { duration: 350, easing: "ease-out" });
  else if (before !== now) row.animate([{ transform: `translateY(${before - now}px)` }, { transform: "none" }], { duration: 400, easing: "ease-in-out" });
}

function summary(items, places) {
  const fresh = items.filter((item) => !places.has(String(item.id))).length;
  const moved = items.filter((item, place) => places.has(String(item.id)) && places.get(String(item.id)) !== place).length;
  const here = new Set(items.map((item) => String(item.id)));
  const gone = last.items.filter((item) => !here.has(String(item.id))).map((item) => item.title);
  if (!fresh && !moved && !gone.length) return "The list stayed as it was.";
  const left = gone.length ? ` Left the list: ${gone.slice(0, 3).join(", ")}${gone.length > 3 ? ` and ${gone.length - 3} more` : ""}.` : "";
  return `The list changed: ${fresh} new, ${moved} moved.${left}`;
}

async function explain(row, item, button) {
  const open = row.querySelector(".parts");
  button.setAttribute("aria-expanded", String(!open));
  if (open) return open.remove();
  const who = asker.known ? `user=${encodeURIComponent(asker.id)}` : "";
  const parts = make("div", "parts");
  const why = who ? await call(`/explain?item=${encodeURIComponent(item.id)}&${who}`) : { because: [], features: [], reasons: item.reasons };
  const most = Math.max(...why.because.map((part) => part.weight), 1e-12);
  for (const part of why.because.slice(0, 6)) {
    parts.append(make("span", "", part.title), bar(part.weight / most), make("span", "", `+${number(part.weight)}`));
  }
  if (why.features.length) parts.append(make("p", "", `Shares: ${why.features.join(", ")}`));
  if (!parts.children.length) parts.append(make("p", "", why.reasons.join(" · ") || "The model gives no reason."));
  row.append(parts);
}

// ---------------------------------------------------------------- events

async function react(item, place, button) {
  if (button) button.disabled = true;
  await guarded(async () => {
    const event = { id: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, user: asker.id, item: item.id, kind: "click" };
    if (place !== undefined) Object.assign(event, { request: last.request, rank: place });
    await call("/events", { events: [event] });
    asker.known = true;
    asker.fresh.add(String(item.id));
    await Promise.all([showHistory(), refresh()]);
  });
  if (button) button.disabled = false;
}

// ---------------------------------------------------------------- search

const finder = { items: [], at: -1, turn: 0 };

function closeFinder() {
  $("found").hidden = true;
  $("search").setAttribute("aria-expanded", "false");
  $("search").removeAttribute("aria-activedescendant");
  finder.at = -1;
}

async function find() {
  const text = $("search").value.trim();
  const turn = ++finder.turn;
  if (!text) return closeFinder();
  const { items } = await call(`/items?limit=12&search=${encodeURIComponent(text)}`);
  if (turn !== finder.turn) return;
  finder.items = items;
  finder.at = -1;
  const options = items.map((item, place) => {
    const option = make("li", "", item.title);
    option.id = `found-${place}`;
    option.setAttribute("role", "option");
    const labels = item.content.genres ?? item.content.category ?? item.content.tags;
    if (labels) option.append(make("small", "", String(labels).replaceAll("|", " · ")));
    option.addEventListener("mousedown", (event) => { event.preventDefault(); add(item); });
    return option;
  });
  $("found").replaceChildren(...(options.length ? options : [make("li", "empty", "No title holds this text.")]));
  $("found").hidden = false;
  $("search").setAttribute("aria-expanded", "true");
}

function step(by) {
  const options = [...$("found").querySelectorAll("[role=option]")];
  if (!options.length) return;
  finder.at = (finder.at + by + options.length) % options.length;
  options.forEach((option, place) => option.setAttribute("aria-selected", String(place === finder.at)));
  options[finder.at].scrollIntoView({ block: "nearest" });
  $("search").setAttribute("aria-activedescendant", `found-${finder.at}`);
}

function add(item) {
  $("search").value = "";
  closeFinder();
  react(item);
}

$("search").addEventListener("input", () => guarded(find));
$("search").addEventListener("blur", closeFinder);
$("search").addEventListener("keydown", (event) => {
  if (event.key === "Escape") closeFinder();
  if (event.key === "ArrowDown") step(1);
  if (event.key === "ArrowUp") step(-1);
  if (event.key === "Enter" && finder.items.length && !$("found").hidden) add(finder.items[Math.max(0, finder.at)]);
  if (["ArrowDown", "ArrowUp", "Enter"].includes(event.key)) event.preventDefault();
});

// ---------------------------------------------------------------- start

$("who").addEventListener("submit", (event) => { event.preventDefault(); choose($("user").value.trim()); });
$("guest").addEventListener("click", () => choose(`guest-${Date.now().toString(36)}${Math.floor(1e4 * Math.random())}`, false));
$("user").addEventListener("input", () => guarded(offerUsers));
$("rules").addEventListener("submit", (event) => event.preventDefault());
$("n").addEventListener("change", () => guarded(askAnew));
$("column").addEventListener("change", () => {
  $("wanted").value = ""; // what was wanted of one column means nothing in another
  guarded(askAnew);
});
$("wanted").addEventListener("change", () => guarded(askAnew));
$("theme").addEventListener("click", () => {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark"
    || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  setTheme(dark ? "light" : "dark");
});

function setTheme(theme) {
  if (!theme) return;
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("leanrec-theme", theme);
}

async function offerUsers() {
  const { users } = await call(`/users?limit=30&search=${encodeURIComponent($("user").value.trim())}`);
  $("users").replaceChildren(...users.map((user) => {
    const option = make("option", "", `${user.events} events`);
    option.value = user.id;
    return option;
  }));
  return users;
}

async function start() {
  setTheme(localStorage.getItem("leanrec-theme"));
  const health = await call("/health");
  $("model").textContent = `${health.settings ?? health.model} · ${health.users.toLocaleString("en")} users · ${health.items.toLocaleString("en")} items`;
  document.title = `leanrec · ${health.model}`;
  $("column").replaceChildren(...health.columns.map((name) => make("option", "", name)));
  const usual = ["genres", "category", "categories", "tags", "genre"].find((name) => health.columns.includes(name));
  if (usual) $("column").value = usual;
  $("filter-column-label").hidden = $("wanted").hidden = !health.columns.length;
  const users = await offerUsers();
  $("tries").replaceChildren(...users.slice(0, 4).map((user) => {
    const button = make("button", "quiet", user.id);
    button.type = "button";
    button.addEventListener("click", () => choose(user.id));
    return button;
  }));
  const named = decodeURIComponent(location.hash.slice(1));
  if (named || users.length) await choose(named || users[0].id);
  else $("guest").click();
}

guarded(start);

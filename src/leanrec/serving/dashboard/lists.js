// Lists: a user with history, the list of now, why it is as it is, what it cost, and the changes that an event makes.

import { $, createBar, createButton, createElement, createFacts, createParts, fetchJson, formatDate, formatNumber, withErrors } from "./page.js";

const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
const state = { user: null, isKnown: false, newItems: new Set() };
let lastResponse = { items: [], request: null };
let requestCount = 0;

// ---------------------------------------------------------------- elements

// The image of an item, over a tile with initials that shows until it is loaded or if there is none.
function createTile(item) {
  const tile = createElement("span", "tile", item.title.split(/\s+/).slice(0, 2).map((word) => [...word][0] ?? "").join("").toUpperCase());
  tile.setAttribute("aria-hidden", "true");
  tile.style.setProperty("--hue", [...String(item.id)].reduce((sum, letter) => (31 * sum + letter.codePointAt(0)) % 360, 7));
  if (item.image_url) {
    const image = createElement("img");
    Object.assign(image, { loading: "lazy", alt: "", referrerPolicy: "no-referrer", src: item.image_url });
    image.addEventListener("error", () => image.remove());
    tile.append(image);
  }
  return tile;
}

// ---------------------------------------------------------------- user and history

async function showHistory() {
  const list = $("history");
  list.replaceChildren();
  $("history-count").textContent = "";
  if (!state.isKnown) {
    list.append(createElement("li", "empty", "No events yet. Add an item above, or click one in the list."));
    return;
  }
  const { events } = await fetchJson(`/users/${encodeURIComponent(state.user)}?limit=100`);
  $("history-count").textContent = events.length < 100 ? `· ${events.length}` : "· the newest 100";
  for (const event of events) {
    const row = createElement("li", state.newItems.has(String(event.id)) ? "new" : "");
    const label = event.rating === null ? event.event_type : `${event.event_type} ${formatNumber(event.rating)}`;
    // Small times are positions in an order, not seconds since 1970.
    const detail = event.time > 1e7 ? `${label} · ${formatDate(event.time)}` : label;
    row.append(createElement("span", "", event.title), createElement("span", "detail", detail));
    list.append(row);
  }
}

async function selectUser(user, isKnown = true) {
  Object.assign(state, { user, isKnown, newItems: new Set() });
  $("user").value = user;
  $("new-user").setAttribute("aria-pressed", String(!isKnown));
  for (const button of $("examples").children) button.setAttribute("aria-pressed", String(isKnown && button.textContent === String(user)));
  history.replaceState(null, "", isKnown ? `#${encodeURIComponent(user)}` : "#");
  $("list").replaceChildren();
  $("timing").replaceChildren();
  $("change").hidden = $("notice").hidden = $("provenance").hidden = true;
  await withErrors(async () => { await showHistory(); await replaceList(); });
}

// ---------------------------------------------------------------- recommendations

function buildRequest() {
  const wanted = $("wanted").value.trim();
  const where = wanted ? { [$("column").value]: parseCondition(wanted) } : undefined;
  const user = state.isKnown ? { user: state.user } : { history: [] };
  return { ...user, n: Number($("n").value), where, trace: true };
}

function parseCondition(text) {
  const range = /^(-?[\d.]+)?\s*(?:-|…|\.\.)\s*(-?[\d.]+)?$/.exec(text);
  if (range && (range[1] || range[2]) && !/^-?[\d.]+$/.test(text)) {
    return { ...(range[1] && { min: Number(range[1]) }), ...(range[2] && { max: Number(range[2]) }) };
  }
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
}

// Shows a list for another user or other settings: what differs from the last list is not marked as a change.
async function replaceList() {
  lastResponse = { items: [], request: null };
  await refreshList();
}

async function refreshList() {
  const turn = ++requestCount;
  const response = await fetchJson("/recommend", buildRequest());
  if (turn !== requestCount) return; // a later request is on its way
  const { server, total } = response.milliseconds;
  $("timing").replaceChildren("server ", createElement("b", "", `${server.toFixed(1)} ms`), ` · round trip ${total.toFixed(0)} ms`);
  const notes = [response.fallback && `This user has no history yet, so this list comes from ${response.fallback}.`, response.note];
  $("notice").textContent = notes.filter(Boolean).join(" ");
  $("notice").hidden = !notes.some(Boolean);
  drawList(response);
  drawProvenance(response);
}

function drawList(response) {
  const list = $("list");
  const tops = new Map([...list.children].map((row) => [row.dataset.id, row.getBoundingClientRect().top]));
  const oldPositions = new Map(lastResponse.items.map((item, position) => [String(item.id), position]));
  const scores = response.items.map((item) => item.score);
  const lowest = Math.min(0, ...scores);
  const range = Math.max(...scores) - lowest || 1;
  const rows = response.items.map((item, position) => createRow(response, position, (item.score - lowest) / range, oldPositions));
  list.replaceChildren(...rows);
  for (const row of rows) animateRow(row, tops.get(row.dataset.id));
  $("change").textContent = oldPositions.size ? describeChange(response.items, oldPositions) : "";
  $("change").hidden = !oldPositions.size;
  lastResponse = response;
}

function createRow(response, position, share, oldPositions) {
  const item = response.items[position];
  const key = String(item.id);
  const row = createElement("li");
  row.dataset.id = key;
  const name = createElement("div", "name", item.title);
  if (oldPositions.size) markChange(row, name, position, oldPositions.get(key));
  const score = createElement("div", "score");
  score.append(createBar(share), createElement("span", "", formatNumber(item.score)));
  const eventButton = createButton("", "event", () => sendEvent(item, position, eventButton));
  eventButton.dataset.title = item.title;
  nameEventButton(eventButton);
  const whyButton = createButton("Why?", "quiet", () => withErrors(() => toggleExplanation(row, item, whyButton)));
  whyButton.setAttribute("aria-label", `Why ${item.title}?`);
  whyButton.setAttribute("aria-expanded", "false");
  const hideButton = createButton("Hide", "quiet", () => hideItem(item, true));
  hideButton.setAttribute("aria-label", `Hide ${item.title} from all lists`);
  hideButton.title = "Hide it from all lists";
  const actions = createElement("div", "actions");
  actions.append(hideButton, whyButton, eventButton);
  const reasons = createElement("div", "reasons", item.reasons.join(" · "));
  const propensity = response.propensities?.[position];
  if (typeof propensity === "number") reasons.append(reasons.textContent ? " · " : "", createElement("span", "", `propensity ${formatNumber(propensity)}`));
  row.append(createElement("span", "position", position + 1), createTile(item), name, actions, score, reasons);
  return row;
}

// The button says which event it sends.
function nameEventButton(button) {
  const type = $("event-type").value;
  button.textContent = type[0].toUpperCase() + type.slice(1);
  button.setAttribute("aria-label", `${button.textContent} ${button.dataset.title}`);
}

function markChange(row, name, position, oldPosition) {
  if (oldPosition === undefined) {
    row.classList.add("new");
    name.append(createElement("span", "badge", "new"));
  } else if (oldPosition !== position) {
    const moved = oldPosition - position;
    const badge = createElement("span", "badge", `${moved > 0 ? "▲" : "▼"} ${Math.abs(moved)}`);
    badge.setAttribute("aria-label", `${moved > 0 ? "up" : "down"} ${Math.abs(moved)}`);
    row.classList.add("moved");
    name.append(badge);
  }
}

function animateRow(row, oldTop) {
  if (reducedMotion.matches) return;
  const top = row.getBoundingClientRect().top;
  if (oldTop === undefined) row.animate([{ opacity: 0 }, { opacity: 1 }], { duration: 350, easing: "ease-out" });
  else if (oldTop !== top) row.animate([{ transform: `translateY(${oldTop - top}px)` }, { transform: "none" }], { duration: 400, easing: "ease-in-out" });
}

function describeChange(items, oldPositions) {
  const isOld = (item) => oldPositions.has(String(item.id));
  const nNew = items.filter((item) => !isOld(item)).length;
  const nMoved = items.filter((item, position) => isOld(item) && oldPositions.get(String(item.id)) !== position).length;
  const ids = new Set(items.map((item) => String(item.id)));
  const removed = lastResponse.items.filter((item) => !ids.has(String(item.id))).map((item) => item.title);
  if (!nNew && !nMoved && !removed.length) return "The list did not change.";
  const titles = `${removed.slice(0, 3).join(", ")}${removed.length > 3 ? ` and ${removed.length - 3} more` : ""}`;
  return `The list changed: ${nNew} new, ${nMoved} moved.${removed.length ? ` Removed: ${titles}.` : ""}`;
}

async function toggleExplanation(row, item, button) {
  const open = row.querySelector(".explanation");
  button.setAttribute("aria-expanded", String(!open));
  if (open) return open.remove();
  const panel = createElement("div", "explanation");
  const explanation = state.isKnown
    ? await fetchJson(`/explain?item=${encodeURIComponent(item.id)}&user=${encodeURIComponent(state.user)}`)
    : { contributions: [], features: [], reasons: item.reasons };
  const largest = Math.max(...explanation.contributions.map((each) => each.weight), 1e-12);
  for (const each of explanation.contributions.slice(0, 6)) {
    panel.append(createElement("span", "", each.title), createBar(each.weight / largest), createElement("span", "", `+${formatNumber(each.weight)}`));
  }
  if (explanation.features.length) panel.append(createElement("p", "", `Shares: ${explanation.features.join(", ")}`));
  if (!panel.children.length) panel.append(createElement("p", "", explanation.reasons.join(" · ") || "The model gives no reason."));
  row.append(panel);
}

// What made the list, and what its stages cost.
function drawProvenance(response) {
  $("provenance").hidden = false;
  const facts = [
    ["Policy", createElement("code", "", response.policy), "wide"],
    ["Version", createElement("code", "", response.version || "not saved")],
    ["Arm", response.arm ?? "none: no trial, or the user takes no part"],
    ["Rung", `${response.rung}${response.dropped.length ? `, without ${response.dropped.map(({ stage }) => stage).join(", ")}` : ""}`],
    ["Reflects events to", `number ${response.as_of.toLocaleString("en")}`],
    ["Fallback", response.fallback ?? "not used"],
    ["Propensities", response.propensities ? "some places were drawn; each item has its own" : "none: nothing was drawn"],
  ];
  const spent = response.trace.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const rest = Math.max(0, response.milliseconds.server - spent);
  const stages = response.trace.map(({ stage, milliseconds }) => [stage, milliseconds, formatMs(milliseconds)]);
  const title = createElement("h3", "", `What this answer cost: ${formatMs(spent + rest)} in the server`);
  $("provenance-body").replaceChildren(createFacts(facts), title, ...createParts([...stages, ["rest of the request", rest, formatMs(rest)]]), ...response.trace.map(describeStage));
}

const formatMs = (milliseconds) => (milliseconds < 0.01 ? "< 0.01 ms" : `${formatNumber(milliseconds)} ms`);

function describeStage({ stage, before, after, dropped }) {
  const why = Object.entries(dropped).map(([reason, n]) => `${n.toLocaleString("en")} ${reason}`).join(", ");
  return createElement("p", "soft", `${stage}: ${before.toLocaleString("en")} → ${after.toLocaleString("en")} items${why ? `; dropped ${why}` : ""}`);
}

// ---------------------------------------------------------------- hidden items

async function hideItem(item, hidden) {
  await withErrors(async () => {
    await fetchJson(`/items/${encodeURIComponent(item.id)}`, { hidden }, "PATCH");
    const undo = createButton("Undo", "quiet outlined", () => hideItem(item, false));
    undo.setAttribute("aria-label", `Show ${item.title} again`);
    $("hidden-item").replaceChildren(createElement("span", "", hidden ? `${item.title} is hidden from all lists.` : `Lists may show ${item.title} again.`), ...(hidden ? [undo] : []));
    $("hidden-item").hidden = false;
    if (hidden) undo.focus();
    await refreshList();
  });
}

// ---------------------------------------------------------------- events

async function sendEvent(item, position, button) {
  if (button) button.disabled = true;
  await withErrors(async () => {
    const id = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
    const event = { id, user: state.user, item: item.id, event_type: $("event-type").value };
    if (position !== undefined) Object.assign(event, { request: lastResponse.request, rank: position });
    await fetchJson("/events", { events: [event] });
    state.isKnown = true;
    state.newItems.add(String(item.id));
    await Promise.all([showHistory(), refreshList()]);
  });
  if (button) button.disabled = false;
}

// ---------------------------------------------------------------- search

const search = { items: [], selected: -1, turn: 0 };

function closeResults() {
  $("results").hidden = true;
  $("search").setAttribute("aria-expanded", "false");
  $("search").removeAttribute("aria-activedescendant");
  search.selected = -1;
}

async function searchItems() {
  const text = $("search").value.trim();
  const turn = ++search.turn;
  if (!text) return closeResults();
  const { items } = await fetchJson(`/items?limit=12&search=${encodeURIComponent(text)}`);
  if (turn !== search.turn) return;
  search.items = items;
  search.selected = -1;
  const options = items.map((item, index) => {
    const option = createElement("li", "", item.title);
    option.id = `result-${index}`;
    option.setAttribute("role", "option");
    const labels = item.content.genres ?? item.content.category ?? item.content.tags;
    if (labels) option.append(createElement("small", "", String(labels).replaceAll("|", " · ")));
    option.addEventListener("mousedown", (event) => { event.preventDefault(); addItem(item); });
    return option;
  });
  $("results").replaceChildren(...(options.length ? options : [createElement("li", "empty", "No title contains this text.")]));
  $("results").hidden = false;
  $("search").setAttribute("aria-expanded", "true");
}

function moveSelection(step) {
  const options = [...$("results").querySelectorAll("[role=option]")];
  if (!options.length) return;
  search.selected = (search.selected + step + options.length) % options.length;
  options.forEach((option, index) => option.setAttribute("aria-selected", String(index === search.selected)));
  options[search.selected].scrollIntoView({ block: "nearest" });
  $("search").setAttribute("aria-activedescendant", `result-${search.selected}`);
}

function addItem(item) {
  $("search").value = "";
  closeResults();
  sendEvent(item);
}

$("search").addEventListener("input", () => withErrors(searchItems));
$("search").addEventListener("blur", closeResults);
$("search").addEventListener("keydown", (event) => {
  if (event.key === "Escape") closeResults();
  if (event.key === "ArrowDown") moveSelection(1);
  if (event.key === "ArrowUp") moveSelection(-1);
  if (event.key === "Enter" && search.items.length && !$("results").hidden) addItem(search.items[Math.max(0, search.selected)]);
  if (["ArrowDown", "ArrowUp", "Enter"].includes(event.key)) event.preventDefault();
});

// ---------------------------------------------------------------- controls and start

$("user-form").addEventListener("submit", (event) => { event.preventDefault(); selectUser($("user").value.trim()); });
$("new-user").addEventListener("click", () => selectUser(`guest-${Date.now().toString(36)}${Math.floor(1e4 * Math.random())}`, false));
$("user").addEventListener("input", () => withErrors(suggestUsers));
$("list-settings").addEventListener("submit", (event) => event.preventDefault());
$("n").addEventListener("change", () => withErrors(replaceList));
$("column").addEventListener("change", () => {
  $("wanted").value = ""; // a value of one column has no meaning in another
  withErrors(replaceList);
});
$("event-type").addEventListener("change", () => $("list").querySelectorAll("button.event").forEach(nameEventButton));
$("wanted").addEventListener("change", () => withErrors(replaceList));

async function suggestUsers() {
  const { users } = await fetchJson(`/users?limit=30&search=${encodeURIComponent($("user").value.trim())}`);
  $("users").replaceChildren(...users.map((user) => {
    const option = createElement("option", "", `${user.events} events`);
    option.value = user.id;
    return option;
  }));
  return users;
}

// Fills the controls from the description of the server, and shows the user of the address or the first one.
export async function startLists(health) {
  $("column").replaceChildren(...health.columns.map((name) => createElement("option", "", name)));
  const types = health.event_types.filter((type) => type !== "rating"); // it needs a number
  $("event-type").replaceChildren(...types.map((name) => createElement("option", "", name)));
  if (types.includes("click")) $("event-type").value = "click";
  const common = ["genres", "category", "categories", "tags", "genre"].find((name) => health.columns.includes(name));
  if (common) $("column").value = common;
  $("column-label").hidden = $("wanted").hidden = !health.columns.length;
  const users = await suggestUsers();
  $("examples").replaceChildren(...users.slice(0, 4).map((user) => createButton(user.id, "quiet", () => selectUser(user.id))));
  const userInAddress = decodeURIComponent(location.hash.slice(1));
  if (userInAddress || users.length) await selectUser(userInAddress || users[0].id);
  else $("new-user").click();
}

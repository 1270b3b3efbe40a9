// What all parts of the dashboard share: elements, numbers, requests with a key, errors and questions.

export const $ = (id) => document.getElementById(id);

// ---------------------------------------------------------------- elements

export function createElement(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

export function createButton(text, className, onClick) {
  const button = createElement("button", className, text);
  button.type = "button";
  button.addEventListener("click", onClick);
  return button;
}

export function createBar(share) {
  const track = createElement("span", "track");
  const fill = createElement("span", "fill");
  track.append(fill);
  requestAnimationFrame(() => { fill.style.width = `${Math.max(2, 100 * share)}%`; });
  return track;
}

// A bar of several parts, each [name, value, text], with its legend.
export function createParts(parts, className) {
  const total = parts.reduce((sum, [, value]) => sum + value, 0) || 1;
  const bar = createElement("div", `parts ${className ?? ""}`);
  bar.setAttribute("aria-hidden", "true");
  const legend = createElement("ul", "legend");
  parts.forEach(([name, value, text], position) => {
    const part = createElement("span", `share color-${position % 6}`);
    part.style.flexGrow = value / total;
    if (value > 0) bar.append(part);
    const key = createElement("li");
    key.append(createElement("span", `swatch color-${position % 6}`), createElement("span", "", name), createElement("b", "", text));
    legend.append(key);
  });
  return [bar, legend];
}

// A table in a box that scrolls sideways. Cells are text or elements; columns from `firstNumber` on are numbers.
export function createTable(caption, columns, rows, firstNumber = columns.length) {
  const box = createElement("div", "table-box");
  Object.assign(box, { tabIndex: 0, role: "region", ariaLabel: caption }); // it can be scrolled with the keys
  const table = createElement("table");
  table.append(createElement("caption", "hidden", caption));
  const head = table.createTHead().insertRow();
  columns.forEach((name, at) => {
    const cell = createElement("th", at >= firstNumber ? "number" : "", name);
    cell.scope = "col";
    head.append(cell);
  });
  const body = table.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    row.forEach((content, at) => {
      const cell = createElement(at ? "td" : "th", at >= firstNumber ? "number" : "");
      if (!at) cell.scope = "row";
      cell.append(content ?? "–");
      line.append(cell);
    });
  }
  box.append(table);
  return box;
}

// Terms with their descriptions, and a class for each pair.
export function createFacts(pairs) {
  const list = createElement("dl", "facts");
  for (const [term, description, className] of pairs) {
    const pair = createElement("div", className);
    const value = createElement("dd");
    value.append(description);
    pair.append(createElement("dt", "", term), value);
    list.append(pair);
  }
  return list;
}

// A number with its name, a detail below it, and "bad" or "warn" where it must be seen.
export function createTile(name, value, detail, state = "") {
  const tile = createElement("div", `figure-tile ${state}`);
  tile.append(createElement("h3", "", name), createElement("p", "figure-value", value), createElement("p", "soft", detail));
  return tile;
}

// New content, with the focus where it was: on the element with the same data-focus.
export function replaceContent(container, ...content) {
  const focused = container.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
  container.replaceChildren(...content);
  if (focused) [...container.querySelectorAll("[data-focus]")].find((each) => each.dataset.focus === focused)?.focus({ preventScroll: true });
}

// ---------------------------------------------------------------- numbers

export const formatNumber = (value) => String(Number(value.toPrecision(3))).replace("-", "−");
export const formatSigned = (value) => `${value > 0 ? "+" : ""}${formatNumber(value)}`;
export const formatCount = (value) => Math.round(value).toLocaleString("en");
export const formatDate = (seconds) => new Date(1000 * seconds).toISOString().slice(0, 10);
export const formatTime = (time) => new Date(time).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
export const formatPercent = (share) => `${formatNumber(100 * share)} %`;

export function formatSeconds(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return `${formatNumber(1000 * seconds)} ms`;
  return `${formatNumber(seconds)} s`;
}

export const formatSpan = (seconds) => (seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`);

export function formatBytes(bytes) {
  const step = bytes >= 1e9 ? [1e9, "GB"] : bytes >= 1e6 ? [1e6, "MB"] : [1e3, "kB"];
  return `${formatNumber(bytes / step[0])} ${step[1]}`;
}

// ---------------------------------------------------------------- requests

let key = null; // in the memory of this page only
let askedKey = null;

// One question at a time: all requests that need a key wait for the same answer.
function askKey() {
  askedKey ??= new Promise((resolve) => {
    $("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      key = $("key").value.trim();
      $("key").value = "";
      $("key-dialog").close();
      askedKey = null;
      resolve();
    }, { once: true });
    $("key-dialog").showModal();
  });
  return askedKey;
}

export async function fetchJson(path, body, method = "POST") {
  const start = performance.now();
  const usedKey = key;
  const headers = { ...(body && { "content-type": "application/json" }), ...(key && { authorization: `Bearer ${key}` }) };
  const options = { headers, ...(body && { method, body: JSON.stringify(body) }) };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not respond. Is it still running?");
  }
  if (response.status === 401) {
    if (key === usedKey) await askKey(); // else another request has asked
    return fetchJson(path, body, method);
  }
  const json = await response.json();
  if (!response.ok) throw Object.assign(new Error(json.error?.message ?? response.statusText), { isForbidden: response.status === 403 && key !== null });
  const server = Number(/dur=([\d.]+)/.exec(response.headers.get("server-timing"))?.[1]);
  return { ...json, milliseconds: { server, total: performance.now() - start } };
}

let errorCount = 0;

// Success hides the error that was shown when the work began, but not one that was shown later.
export async function withErrors(work) {
  const before = errorCount;
  try {
    await work();
    if (errorCount === before) $("error").hidden = true;
  } catch (error) {
    errorCount += 1;
    $("error").textContent = error.message;
    if (error.isForbidden) $("error").append(" ", createButton("Use another key", "quiet outlined", () => replaceKey(work)));
    $("error").hidden = false;
  }
}

async function replaceKey(work) {
  await askKey();
  await withErrors(work);
}

// ---------------------------------------------------------------- questions

// Whether the reader confirms. The button that changes nothing has the focus.
export function confirmChange(title, text, action) {
  $("confirm-title").textContent = title;
  $("confirm-text").textContent = text;
  $("confirm-yes").textContent = action;
  return new Promise((resolve) => {
    $("confirm-dialog").returnValue = "";
    $("confirm-dialog").addEventListener("close", () => resolve($("confirm-dialog").returnValue === "yes"), { once: true });
    $("confirm-dialog").showModal();
    $("confirm-no").focus();
  });
}

// Dashboard: its parts, which of them is shown, and how often it asks the server.

import { refreshExperiment, startExperiment } from "./experiments.js";
import { startLists } from "./lists.js";
import { $, fetchJson, formatCount, withErrors } from "./page.js";
import { refreshTraffic } from "./traffic.js";
import { refreshVersions } from "./versions.js";

const PARTS = ["lists", "traffic", "versions", "experiment"];
const REFRESHES = { traffic: [refreshTraffic, 2000], versions: [refreshVersions, 4000], experiment: [refreshExperiment, null] };
const tabs = PARTS.map((part) => $(`tab-${part}`));
let shownPart = null;
let turn = 0;
let isStarted = false; // of the lists, which ask the server for one and so wait until they are shown

// ---------------------------------------------------------------- parts

function showPart(part) {
  shownPart = part;
  for (const each of PARTS) {
    const isShown = each === part;
    $(`part-${each}`).hidden = !isShown;
    $(`tab-${each}`).setAttribute("aria-selected", String(isShown));
    $(`tab-${each}`).tabIndex = isShown ? 0 : -1;
  }
  const address = part === "lists" ? location.pathname : `?part=${part}`;
  history.replaceState(null, "", address + location.hash);
  if (part === "lists" && !isStarted) {
    isStarted = true;
    withErrors(async () => startLists(await described));
  }
  watch();
}

// Refreshes the part that is shown until it is another one. It waits while the page is hidden.
async function watch() {
  const mine = ++turn;
  const [refresh, pause] = REFRESHES[shownPart] ?? [];
  while (refresh && mine === turn) {
    if (!document.hidden) await withErrors(refresh);
    if (pause === null) return;
    await new Promise((resolve) => { setTimeout(resolve, pause); });
  }
}

function moveTab(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1, Home: -PARTS.indexOf(shownPart), End: PARTS.length - 1 - PARTS.indexOf(shownPart) }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  const part = PARTS[(PARTS.indexOf(shownPart) + step + PARTS.length) % PARTS.length];
  showPart(part);
  $(`tab-${part}`).focus();
}

tabs.forEach((tab, at) => {
  tab.addEventListener("click", () => showPart(PARTS[at]));
  tab.addEventListener("keydown", moveTab);
});

$("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the part after # is for a user
  $(`part-${shownPart}`).focus();
});

// ---------------------------------------------------------------- theme and start

$("theme").addEventListener("click", () => {
  const isDark = getComputedStyle(document.documentElement).colorScheme === "dark"
    || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  setTheme(isDark ? "light" : "dark");
});

function setTheme(theme) {
  if (!theme) return;
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("leanrec-theme", theme);
}

async function describeServer() {
  const health = await fetchJson("/health");
  $("model").textContent = `${health.settings ?? health.model} · ${formatCount(health.users)} users · ${formatCount(health.items)} items`;
  document.title = `leanrec · ${health.model}`;
  return health;
}

setTheme(localStorage.getItem("leanrec-theme"));
startExperiment(withErrors);
const described = describeServer();
withErrors(() => described);
const asked = new URLSearchParams(location.search).get("part");
showPart(PARTS.includes(asked) ? asked : "lists");

// What another version would have earned, by three estimates from the lists of the log that explored.

import { $, createElement, createTable, fetchJson, formatCount, formatNumber, replaceContent } from "./page.js";

const NAMES = { snips: "SNIPS", ips: "IPS", dr: "doubly robust" };

// Offers the versions of the store; the one of the last estimate stays chosen.
export async function refreshVersionsToEstimate() {
  const { has_store: hasStore, versions, version } = await fetchJson("/dashboard/versions");
  $("off-policy-form").hidden = !hasStore;
  if (!hasStore) {
    replaceContent($("off-policy"), createElement("p", "soft", "The server serves one model. With a store of versions another one can be estimated."));
    return;
  }
  const chosen = $("off-policy-version").value;
  const others = versions.filter(({ id }) => id !== version).reverse();
  $("off-policy-version").replaceChildren(...others.map(({ id, model }) => new Option(`${id} · ${model ?? ""}`, id, false, id === chosen)));
  $("off-policy-estimate").disabled = !others.length;
}

async function estimateVersion() {
  $("off-policy-status").textContent = "The version is asked for the lists of the log …";
  $("off-policy-estimate").disabled = true;
  try {
    showEstimates(await fetchJson(`/dashboard/off-policy?version=${encodeURIComponent($("off-policy-version").value)}`));
  } finally {
    $("off-policy-status").textContent = "";
    $("off-policy-estimate").disabled = false;
  }
}

function showEstimates({ version, problem, lists, skipped, estimates }) {
  const title = createElement("h3", "", `Version ${version}`);
  if (problem) {
    replaceContent($("off-policy"), title, createElement("p", "verdict", problem));
    return;
  }
  const format = (value) => (value === null ? "–" : formatNumber(value)); // one user gives no interval
  const rows = estimates.map((each) => [NAMES[each.method], ...[each.value, each.low, each.high, each.logged].map(format), formatCount(each.n), formatCount(each.effective_n)]);
  const leftOut = Object.entries(skipped).map(([reason, count]) => createElement("p", "soft", `${formatCount(count)} lists were left out, because ${reason}.`));
  replaceContent(
    $("off-policy"),
    title,
    createElement("p", "soft", `Positive events for each shown item, from ${formatCount(lists)} lists that explored. The intervals (95 %) hold for one look.`),
    createTable("Estimates", ["estimate", "value", "from", "to", "served", "shown items", "effective"], rows, 1),
    ...leftOut,
  );
}

export function startOffPolicy(withErrors) {
  $("off-policy-form").addEventListener("submit", (event) => {
    event.preventDefault();
    withErrors(estimateVersion);
  });
}

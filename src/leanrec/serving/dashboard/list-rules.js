// Rules of lists: what is pinned for whom and until when, and the limits on items that are alike.

import { $, createElement, createTable, fetchJson, formatCount, formatTime, replaceContent } from "./page.js";

let shown = "";

export async function refreshListRules() {
  const { milliseconds, ...rules } = await fetchJson("/dashboard/list-rules");
  const text = JSON.stringify(rules);
  if (text === shown) return;
  shown = text;
  replaceContent($("list-rules"), ...createRules(rules));
}

function createRules({ pins, limits, revision, policy, fixed, problem }) {
  const origin = fixed ? "Of the file that the server was started with; they do not change." : `Revision ${formatCount(revision)}, changed by PUT /list-rules.`;
  if (problem) return [createElement("p", "verdict bad", problem), createElement("p", "soft", origin)];
  if (!pins.length && !limits.length) return [createElement("p", "soft", `None: all places are those of the model and its sources. ${origin}`)];
  const parts = [createElement("p", "soft", origin), createElement("code", "policy", policy)];
  if (pins.length) {
    const rows = [...pins].sort((a, b) => a.position - b.position).map(({ item, position, users, until }) => [String(position), String(item), users ? JSON.stringify(users) : "all", until ? formatTime(until) : "no end"]);
    parts.push(createTable("Pinned items", ["place", "item", "users", "until"], rows));
  }
  if (limits.length) parts.push(createTable("Limits", ["column", "items of a list with the same label"], limits.map(({ column, n }) => [column, `at most ${formatCount(n)}`])));
  return parts;
}

// Versions: what is served, what is on trial and how it does, the last changes, and the buttons that change them.

import { refreshListRules } from "./list-rules.js";
import { $, confirmChange, createButton, createElement, createFacts, createTable, fetchJson, formatBytes, formatCount, formatNumber, formatPercent, formatSigned, formatTime, replaceContent, withErrors } from "./page.js";

let shown = "";

export async function refreshVersions() {
  const { milliseconds, ...state } = await fetchJson("/dashboard/versions");
  showVersions(state);
  await refreshListRules();
}

function showVersions(state) {
  const text = JSON.stringify(state);
  if (text === shown) return;
  shown = text;
  replaceContent($("versions-served"), ...createServed(state));
  replaceContent($("versions-trial"), ...createTrial(state));
  $("versions-stored").hidden = !state.has_store;
  if (!state.has_store) return;
  replaceContent($("versions-list"), createVersionTable(state));
  replaceContent($("versions-history"), createHistory(state));
}

// ---------------------------------------------------------------- changes

// The button of a change, which asks first. The server refuses it if there was another change since what is shown here.
function createChangeButton(state, text, className, title, explanation, change) {
  const button = createButton(text, className, async () => {
    if (!(await confirmChange(title, explanation, text))) return;
    button.disabled = true;
    await withErrors(async () => {
      try {
        showVersions(withoutTimes(await fetchJson("/dashboard/versions", { ...change, fence: state.fence })));
        $("versions-status").textContent = `Done: ${title}. Servers follow within a second or two.`;
        setTimeout(() => withErrors(refreshVersions), 1500);
      } finally {
        button.disabled = false;
      }
    });
  });
  button.dataset.focus = `${change.action} ${change.version ?? ""}`;
  return button;
}

const withoutTimes = ({ milliseconds, ...state }) => state;

function createPromoteButton(state, version) {
  const running = findRunning(state);
  const isOnTrial = running && state.trial?.version === version;
  const effect = isOnTrial
    ? `All users get its lists, and its trial ends. ${describeGuard(state.trial)}`
    : `All users get its lists.${running ? ` The trial of ${running.version} ends.` : ""}`;
  const text = `${effect} Now ${state.version} is served; a rollback brings it back.`;
  return createChangeButton(state, "Promote", "outlined", `Promote ${version}`, text, { action: "promote", version });
}

// ---------------------------------------------------------------- what is served

function createServed(state) {
  const last = state.promotions?.at(-1);
  const facts = [["Model", state.model], ["Version", code(state.version || "not saved")]];
  if (last) facts.push(["Served since", formatTime(last.time)], ["Last change", `number ${state.fence}`]);
  const parts = [createFacts(facts)];
  if (last && last.version !== state.version) parts.push(createElement("p", "notice", `Version ${last.version} is promoted. This process loads it, or could not; the log of the server says which.`));
  if (!state.has_store) {
    parts.push(createElement("p", "soft", "The server serves one model. With a store of versions it can change to another without a pause:"), code("leanrec versions add models model --promote", "command"), code("leanrec serve models", "command"));
  } else if (!state.may_change) {
    parts.push(createElement("p", "soft", "Versions are changed here only where the server asks for keys. On its machine:"), code(`leanrec versions promote ${state.store} VERSION`, "command"), code(`leanrec versions rollback ${state.store}`, "command"));
  } else {
    const before = findBefore(state);
    const button = createChangeButton(state, "Roll back", "outlined", "Roll back", `All users get lists of ${before ?? "the version before"} again, as before the last promotion.${findRunning(state) ? ` The trial of ${findRunning(state).version} ends.` : ""}`, { action: "rollback" });
    button.disabled = !before;
    const row = createElement("div", "row");
    row.append(button);
    parts.push(row);
  }
  return parts;
}

// The version to which a rollback goes, as the store finds it.
function findBefore({ promotions }) {
  const history = [];
  for (const { version, reason } of promotions) {
    if (reason === "rollback" && history.length > 1) history.pop();
    else if (history.at(-1) !== version) history.push(version);
  }
  return history.at(-2);
}

function code(text, className) {
  return createElement("code", className, text);
}

// ---------------------------------------------------------------- trial

function describeGuard({ verdict, shadow, difference }) {
  if (verdict) return `The guard of the ${verdict.guard} has stopped it: ${verdict.reason}.`;
  if (shadow) return "No guard has stopped it.";
  if (!difference) return "No guard has stopped it, and there is too little data for a verdict.";
  return difference.low > 0 ? "No guard has stopped it, and its users act more." : "No guard has stopped it, and no difference is proven so far.";
}

const findRunning = ({ trials }) => (trials?.at(-1)?.ended === null ? trials.at(-1) : null);

function createTrial(state) {
  const running = findRunning(state);
  const trial = state.has_store && !running ? null : state.trial; // the store knows first
  if (running && !trial) return [createElement("p", "soft", `Version ${running.version} is on trial. This process loads it.`)];
  if (!trial) {
    const parts = [createElement("p", "soft", "No version is on trial.")];
    if (state.has_store) parts.push(createElement("p", "soft", "Try one on 5 % of the users:"), code(`leanrec versions try ${state.store} VERSION --share 0.05`, "command"));
    return parts;
  }
  const kind = trial.is_shadow ? `shadow: ${formatPercent(trial.share)} of the lists are made by it too, and they are not served` : `canary: ${formatPercent(trial.share)} of the users get its lists, and as many are the control`;
  const guard = createElement("p", trial.verdict ? "guard bad" : "guard", describeGuard(trial));
  const parts = [createFacts([["Version", code(trial.version)], ["Model", trial.model], ["Since", formatTime(trial.started)], ["Kind", kind, "wide"]]), guard, trial.shadow ? createShadow(trial.shadow) : createArms(trial)];
  if (trial.processes > 1) parts.push(createElement("p", "soft", `As one of ${trial.processes} workers has seen it. The experiment has the numbers of all.`));
  if (state.may_change) {
    const row = createElement("div", "row");
    row.append(createChangeButton(state, "Stop the trial", "danger", `Stop the trial of ${trial.version}`, "All users get lists of the current version again.", { action: "stop", reason: "stopped on the dashboard" }), createPromoteButton(state, trial.version));
    parts.push(row);
  }
  return parts;
}

function createArms({ arms, difference, ratio_p_value: ratio }) {
  const formatMs = (value) => (value === null ? "–" : `${formatNumber(value)} ms`);
  const row = (name, read) => [name, ...Object.values(arms).map(read)];
  const rows = [
    row("users", (arm) => formatCount(arm.users)),
    row("lists", (arm) => formatCount(arm.lists)),
    row("failures", (arm) => formatCount(arm.failures)),
    row("p50 of a list", (arm) => formatMs(arm.p50_ms)),
    row("p99 of a list", (arm) => formatMs(arm.p99_ms)),
    row("positive events a user", (arm) => formatNumber(arm.reward)),
  ];
  const box = createElement("div", "stack");
  box.append(createTable("Both sides of the trial", ["", ...Object.keys(arms)], rows, 1));
  const words = difference ? `Difference: ${formatSigned(difference.value)} positive events a user, ${formatSigned(difference.low)} to ${formatSigned(difference.high)} at every look. ` : "";
  box.append(createElement("p", "soft", `${words}Sample ratio: p = ${formatNumber(ratio)}${ratio <= 0.001 ? ", so users or lists were lost" : ", as intended"}.`));
  return box;
}

function createShadow(shadow) {
  return createFacts([
    ["Compared lists", formatCount(shadow.compared)],
    ["Failed", formatCount(shadow.failed)],
    ["Dropped", formatCount(shadow.dropped)],
    ["Common items", shadow.overlap === null ? "–" : formatPercent(shadow.overlap)],
    ["CPU of a list", `${formatNumber(shadow.candidate_ms)} ms; current version ${formatNumber(shadow.current_ms)} ms`],
  ]);
}

// ---------------------------------------------------------------- versions and changes

function createVersionTable(state) {
  const columns = ["version", "state", ...(state.may_change ? ["change"] : []), "model", "fitted", "events", "size"];
  const rows = [...state.versions].reverse().map((each) => {
    const isCurrent = each.id === state.promotions.at(-1)?.version;
    const label = isCurrent ? createElement("span", "badge", "current") : each.id === findRunning(state)?.version ? createElement("span", "badge", "on trial") : "";
    const change = isCurrent ? "" : createPromoteButton(state, each.id);
    return [code(each.id), label, ...(state.may_change ? [change] : []), each.settings ?? each.model ?? "", each.created ? createElement("span", "nowrap", formatTime(each.created)) : "", each.events === null ? "" : formatCount(each.events), formatBytes(each.n_bytes)];
  });
  return createTable("Versions, newest fit first", columns, rows);
}

function createHistory({ promotions, trials }) {
  const changes = [
    ...promotions.map(({ fence, time, version, reason }) => ({ fence, time, text: `${reason === "rollback" ? "Rolled back to" : "Promoted"} ${version}` })),
    ...trials.map((each) => ({ fence: each.fence, time: each.ended ?? each.started, text: describeTrial(each) })),
  ].sort((a, b) => b.fence - a.fence || (a.text < b.text ? 1 : -1));
  const list = createElement("ol", "changes");
  for (const { fence, time, text } of changes.slice(0, 30)) {
    const line = createElement("li");
    line.append(createElement("span", "count", `${fence}`), createElement("span", "", text), createElement("span", "soft", formatTime(time)));
    list.append(line);
  }
  if (!changes.length) list.append(createElement("li", "empty", "No changes yet."));
  return list;
}

function describeTrial({ version, is_shadow: isShadow, share, outcome, reason, ended_by: who }) {
  const what = isShadow ? "shadow" : "trial";
  if (!outcome) return `Started the ${what} of ${version}, share ${formatPercent(share)}`;
  return `The ${what} of ${version} was ${outcome}${who ? ` by ${who}` : ""}${reason ? `: ${reason}` : ""}`;
}

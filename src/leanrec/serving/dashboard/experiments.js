// Experiment: arms, sample ratio, and the difference with an interval that holds at every look, as it went on.

import { LineChart } from "./charts.js";
import { refreshVersionsToEstimate, startOffPolicy } from "./off-policy.js";
import { $, createElement, createTable, fetchJson, formatCount, formatNumber, formatSigned, formatTime, replaceContent } from "./page.js";

const WORDS = {
  better: (arm, control) => `${arm} is better than ${control}.`,
  worse: (arm, control) => `${arm} is worse than ${control}.`,
  undecided: (arm, control) => `No difference between ${arm} and ${control} so far.`,
  "too little data": (arm) => `No verdict on ${arm} yet: both arms need 25 users, some with positive events and some without.`,
  "same lists": (arm) => `No verdict on ${arm}: most lists of both arms are of the same policy, so it was not delivered.`,
  "sample ratio mismatch": (arm) => `No verdict on ${arm}: the numbers of users do not fit the intended ratio, so users or lists were lost. Find out which before anything else.`,
};
const MISMATCH = 0.001; // p-value from which on there is a verdict

export async function refreshExperiment() {
  await refreshVersionsToEstimate();
  $("experiment-status").textContent = "The log is read …";
  try {
    showExperiment(await fetchJson("/dashboard/experiment"));
  } finally {
    $("experiment-status").textContent = "";
  }
}

function showExperiment(report) {
  $("experiment-made").textContent = `Read ${formatTime(1000 * report.made)}`;
  if (report.problem) {
    replaceContent($("experiment"), createElement("p", "soft", `${report.problem} An experiment begins with a trial of a version on a share of the users.`));
    return;
  }
  const { arms, comparisons, ratio_p_value: ratio } = report;
  const title = report.trial ? `Trial of ${report.trial.version}${report.trial.ended ? ", ended" : ""}` : "All lists of the log that have an arm";
  const row = (name, read) => [name, ...arms.map(read)];
  const rows = [
    row("users", (arm) => formatCount(arm.users)),
    row("lists", (arm) => formatCount(arm.lists)),
    row("positive events", (arm) => formatCount(arm.rewards)),
    row("for each user", (arm) => formatNumber(arm.mean_reward)),
    row("most lists by", (arm) => createElement("code", "policy", Object.keys(arm.policies)[0] ?? "")),
  ];
  const isMismatch = ratio <= MISMATCH;
  const parts = [
    createElement("h3", "", title),
    createElement("p", "soft", `Lists from ${formatTime(1000 * report.first)} to ${formatTime(1000 * report.last)}.`),
    createTable("Arms of the experiment", ["", ...arms.map(({ name }) => name)], rows, 1),
    createElement("p", isMismatch ? "guard bad" : "guard", `Sample ratio: p = ${formatNumber(ratio)}. ${isMismatch ? "The numbers of users do not fit what was intended." : "The numbers of users fit what was intended."}`),
  ];
  for (const comparison of comparisons) parts.push(...createComparison(comparison, arms[0].name, report.level));
  if (report.n_switched) parts.push(createElement("p", "soft", `${formatCount(report.n_switched)} lists went to users who had another arm before. They count in their first arm.`));
  replaceContent($("experiment"), ...parts);
  for (const [chart, points] of waiting.splice(0)) chart.show(points);
}

const waiting = []; // charts are drawn when they are in the page

function createComparison({ arm, difference, verdict, looks }, control, level) {
  const box = createElement("p", `verdict ${verdict === "better" ? "good" : ["worse", "sample ratio mismatch"].includes(verdict) ? "bad" : ""}`, WORDS[verdict](arm, control));
  if (difference.low === null) return [box];
  const interval = `${formatSigned(difference.value)} positive events for each user, ${formatSigned(difference.low)} to ${formatSigned(difference.high)} (${formatNumber(100 * level)} %, at every look).`;
  const chart = new LineChart({
    title: `Difference, ${arm} − ${control}`,
    note: `line: estimate; area: ${formatNumber(100 * level)} % at every look`,
    lines: [{ name: "difference", className: "first" }],
    format: formatSigned,
    describeX: (users) => `${formatCount(users)} users`,
    ticks: (from, to) => [from, (from + to) / 2, to].map((users) => [users, `${formatCount(users)} users`]),
  });
  waiting.push([chart, looks.filter(([, , low]) => low !== null).map(([users, value, low, high]) => [users, [value], low, high])]);
  return [box, createElement("p", "", `Difference: ${interval}`), chart.element];
}

export function startExperiment(withErrors) {
  $("experiment-again").addEventListener("click", () => withErrors(refreshExperiment));
  startOffPolicy(withErrors);
}

// Drift: responses, scores, and what the model knows, now and before; and whether responses have fallen, from the log.

import { $, createTile, fetchJson, formatCount, formatNumber, formatPercent, formatSpan, replaceContent } from "./page.js";

const PAUSE_SECONDS = 300; // between two reports on the log

// Parts of sums since the start, or of those of a window; null where there is nothing to divide by.
function describeDrift({ lists, events, fallbacks, feedback, top_score_sum: scores, top_score_count: scored }) {
  const n = Object.values(lists).reduce((total, each) => total + each, 0);
  const stored = events.stored ?? 0;
  const limit = (share) => Math.max(0, Math.min(1, share)); // the sums are not of the same moment
  return {
    responses: n > 0 ? (100 * feedback) / n : null,
    score: scored > 0 ? scores / scored : null,
    users: n > 0 ? limit(1 - fallbacks / n) : null,
    items: stored > 0 ? limit(1 - (events.rejected ?? 0) / stored) : null,
  };
}

export function showDrift(sample, window) {
  const before = describeDrift(sample);
  const now = window ? describeDrift(window) : {};
  const tile = (name, key, format) => {
    const write = (value) => (value === null || value === undefined ? "–" : format(value));
    return createTile(name, write(now[key]), `${write(before[key])} since the start`);
  };
  $("drift-span").textContent = `Large: ${window ? `the last ${formatSpan(window.elapsed)}` : "the last minutes"}. Small: since the start of the server.`;
  replaceContent(
    $("drift-tiles"),
    tile("Responses to 100 lists", "responses", formatNumber),
    tile("Mean top score", "score", formatNumber),
    tile("Lists of known users", "users", formatPercent),
    tile("Events on known items", "items", formatPercent),
  );
  readVerdict(sample.version);
}

// ---------------------------------------------------------------- verdict

let readVersion = null;
let readAgain = 0;
let isReading = false;

// Tiles do not wait for the log, and an error of one report is no error of the page.
async function readVerdict(version) {
  if (isReading || (version === readVersion && performance.now() < readAgain)) return;
  isReading = true;
  try {
    showVerdict(await fetchJson("/dashboard/drift"));
  } catch (error) {
    showVerdict({ problem: error.message });
  }
  isReading = false;
  readVersion = version;
  readAgain = performance.now() + 1000 * PAUSE_SECONDS;
}

function showVerdict(report) {
  const hasFallen = (report.fall ?? null) !== null;
  $("drift-verdict").className = `verdict ${hasFallen ? "bad" : ""}`;
  $("drift-verdict").textContent = report.problem ?? describeVerdict(report, hasFallen);
}

function describeVerdict({ version, lists, waiting, needed, first_rate: first, last_rate: last, fall }, hasFallen) {
  const of = version ? `the version ${version}` : "this version";
  if (first === null) return `No verdict on the responses yet: more than ${formatCount(needed)} lists of ${of} must be half an hour old. ${formatCount(lists)} are; ${formatCount(waiting)} are younger.`;
  if (first === 0) return `No verdict on the responses: none of the first ${formatCount(needed)} lists of ${of} got one. Clients must send the request of a list with its events.`;
  if (first === 1) return `No verdict on the responses: all of the first ${formatCount(needed)} lists of ${of} got one, which says nothing about how they vary.`;
  const rates = `${formatPercent(first)} of the first ${formatCount(needed)} got a response, ${formatPercent(last)} of the last ${formatCount(needed)}.`;
  if (hasFallen) return `Responses have fallen: people respond to fewer of the lists of ${of} than at first, noticed at list ${formatCount(fall + 1)} of ${formatCount(lists)}. ${rates}`;
  return `No lasting fall of the responses to the ${formatCount(lists)} lists of ${of}. ${rates}`;
}

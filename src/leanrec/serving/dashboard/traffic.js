// Traffic: rates, latencies, load, freshness and the event log, from sums that the server keeps since its start.

import { LineChart } from "./charts.js";
import { showDrift } from "./drift.js";
import { $, createElement, createFacts, createParts, createTile, fetchJson, formatBytes, formatCount, formatNumber, formatPercent, formatSeconds, formatSpan, replaceContent } from "./page.js";

const KEPT_SECONDS = 600;
const NOW_SECONDS = 10; // rates and percentiles of "now"
const MINUTES_SECONDS = 300;
const GAP_SECONDS = 30;
const OUTCOMES = { answered: "answered", invalid: "invalid (4xx)", refused: "refused (429, 503)", failed: "failed (5xx)" };
const RUNG_NAMES = { full: "full", no_reasons: "no reasons", cached: "cached", popular: "popular" };

let samples = [];
let charts = null;

// ---------------------------------------------------------------- arithmetic

const sum = (values) => values.reduce((total, each) => total + each, 0);

// The oldest sample of the given seconds before another one, or the one before it.
function findEarlier(last, seconds) {
  let found = null;
  for (let at = last - 1; at >= 0 && (!found || samples[last].time - samples[at].time <= seconds + 0.5); at -= 1) {
    if (samples[last].time - samples[at].time > Math.max(seconds, GAP_SECONDS)) break; // the page was hidden meanwhile
    if (countRequests(samples[at]) > countRequests(samples[at + 1])) break; // the server was started again
    found = samples[at];
  }
  return found;
}

const countRequests = (sample) => sum(Object.values(sample.requests));

// What happened in the seconds before a sample; null where nothing earlier is known.
function describeWindow(last, seconds) {
  const after = samples[last];
  const before = findEarlier(last, seconds);
  if (!before) return null;
  const elapsed = after.time - before.time;
  const subtract = (name) => Object.fromEntries(Object.entries(after[name]).map(([each, value]) => [each, value - (before[name][each] ?? 0)]));
  const requests = subtract("requests");
  const total = sum(Object.values(requests));
  const events = subtract("events");
  return {
    elapsed, requests, total, events, lists: subtract("lists"),
    rate: total / elapsed,
    eventRate: (events.stored ?? 0) / elapsed,
    lost: after.lists_lost - before.lists_lost,
    refusedConnections: after.connections_refused - before.connections_refused,
    fallbacks: after.fallbacks - before.fallbacks,
    feedback: after.feedback - before.feedback,
    top_score_sum: after.top_score_sum - before.top_score_sum,
    top_score_count: after.top_score_count - before.top_score_count,
    latency: describeLatency(before.list_latency, after.list_latency),
    allLatency: describeLatency(before.latency, after.latency),
    freshness: describeLatency(before.freshness, after.freshness),
  };
}

function describeLatency(before, after) {
  const counts = after.counts.map((count, at) => count - (before.counts[at] ?? 0));
  return { n: sum(counts), p50: findQuantile(after.bounds, counts, 0.5), p99: findQuantile(after.bounds, counts, 0.99) };
}

// A quantile from the counts of buckets, as if durations were spread evenly in each. In the last one: its lower bound.
function findQuantile(bounds, counts, share) {
  const total = sum(counts);
  if (total <= 0) return null;
  let rest = share * total;
  for (let at = 0; at < bounds.length; at += 1) {
    if (rest <= counts[at]) {
      const low = at ? bounds[at - 1] : 0;
      return low + ((bounds[at] - low) * rest) / counts[at];
    }
    rest -= counts[at];
  }
  return bounds.at(-1);
}

// ---------------------------------------------------------------- tiles

const formatPair = ({ p50, p99 }) => (p50 === null ? "–" : `${formatSeconds(p50)} / ${formatSeconds(p99)}`);

function createTiles(sample, now, minutes) {
  const { log } = sample;
  const failed = minutes?.requests.failed ?? 0;
  const refused = (minutes?.requests.refused ?? 0) + (minutes?.refusedConnections ?? 0);
  const span = minutes ? `in ${formatSpan(minutes.elapsed)}` : "";
  const stateOfLog = log.problem ?? (log.waiting_seconds > 1 ? `One write takes ${formatSeconds(log.waiting_seconds)} already.` : null);
  return [
    createTile("Requests", now ? `${formatNumber(now.rate)} /s` : "–", minutes ? `${formatNumber(minutes.rate)} /s ${span}` : "measuring"),
    createTile("Lists, p50 / p99", now ? formatPair(now.latency) : "–", minutes ? `${formatPair(minutes.latency)} ${span}` : ""),
    createTile("Failed", now ? formatCount(now.requests.failed) : "–", minutes ? `${formatCount(failed)} ${span}` : "", failed ? "bad" : ""),
    createTile("Refused", now ? formatCount(now.requests.refused + now.refusedConnections) : "–", minutes ? `${formatCount(refused)} ${span}` : "", refused ? "warn" : ""),
    createTile("Events", now ? `${formatNumber(now.eventRate)} /s` : "–", minutes ? `${formatNumber(minutes.eventRate)} /s ${span}` : ""),
    createTile("Freshness, p50 / p99", minutes ? formatPair(minutes.freshness) : "–", "from the arrival of an event to lists that have it"),
    createTile("Event log", `${formatCount(log.events)} events`, log.bytes === null ? "in a database" : `${formatBytes(log.bytes)}; write-ahead log ${formatBytes(sample.log_wal_bytes)}`, stateOfLog ? "bad" : ""),
    createTile("Free space", formatBytes(sample.log_free_bytes), stateOfLog ?? "on the disk of the log", stateOfLog ? "bad" : ""),
  ];
}

function createLoad(sample, minutes) {
  const lists = Object.entries(minutes?.lists ?? sample.lists).map(([rung, n]) => [RUNG_NAMES[rung] ?? rung, Math.max(0, n)]);
  const total = sum(lists.map(([, n]) => n));
  const parts = lists.map(([name, n]) => [name, n, total ? `${formatPercent(n / total)}` : "–"]);
  const title = createElement("h3", "", minutes ? `Lists by rung, last ${formatSpan(minutes.elapsed)}` : "Lists by rung, since the start");
  return [title, ...createParts(parts), createFacts([
    ["Rung now", RUNG_NAMES[sample.rung] ?? sample.rung],
    ["Work per list", formatPercent(1 - sample.quality_loss)],
    ["From the fallback", minutes ? formatCount(minutes.fallbacks) : "–"],
    ["Lists not logged", formatCount(sample.lists_lost)],
    ["Workers", String(sample.workers)],
    ["Users", formatCount(sample.users)],
    ["Items", formatCount(sample.items)],
    ["Version", `${sample.model}${sample.version ? ` ${sample.version}` : ""}`],
  ])];
}

// ---------------------------------------------------------------- charts

const describeAge = (time, last) => (last - time < 1 ? "now" : `${formatSpan(last - time)} ago`);
const tickAges = (from, to) => [from, (from + to) / 2, to].map((time) => [time, to - time < 1 ? "now" : `−${formatSpan(to - time)}`]);

function createCharts() {
  const shared = { describeX: describeAge, ticks: tickAges };
  const perSecond = (value) => formatNumber(value);
  return {
    rates: new LineChart({ ...shared, title: "Requests and events per second", format: perSecond, lines: [{ name: "requests", className: "first" }, { name: "events", className: "second" }] }),
    latency: new LineChart({ ...shared, title: "Time of a list", format: formatSeconds, lines: [{ name: "p50", className: "first" }, { name: "p99", className: "second" }] }),
    trouble: new LineChart({ ...shared, title: "Refused, failed and invalid requests per second", format: perSecond, lines: [{ name: "failed", className: "bad" }, { name: "refused", className: "second" }, { name: "invalid", className: "third" }] }),
    freshness: new LineChart({ ...shared, title: "Freshness of lists", format: formatSeconds, lines: [{ name: "p50", className: "first" }, { name: "p99", className: "second" }] }),
  };
}

function updateCharts() {
  const to = samples.at(-1).time;
  const shown = samples.map((_, at) => [samples[at].time, describeWindow(at, NOW_SECONDS)]).filter(([, each]) => each);
  const range = [Math.min(to - 60, samples[0].time), to];
  const show = (chart, read) => chart.show(shown.map(([time, each]) => [time, read(each)]), range);
  show(charts.rates, (each) => [each.rate, each.eventRate]);
  show(charts.latency, (each) => [each.latency.p50, each.latency.p99]);
  show(charts.trouble, (each) => [each.requests.failed / each.elapsed, each.requests.refused / each.elapsed, each.requests.invalid / each.elapsed]);
  show(charts.freshness, (each) => [each.freshness.p50, each.freshness.p99]);
}

export async function refreshTraffic() {
  const { samples: later, ...sample } = await fetchJson(`/dashboard/traffic?after=${samples.at(-1)?.time ?? 0}`);
  samples.push(...later);
  samples = samples.filter((each) => each.time > samples.at(-1).time - KEPT_SECONDS);
  const last = samples.length - 1;
  const now = describeWindow(last, NOW_SECONDS);
  const minutes = describeWindow(last, MINUTES_SECONDS);
  const state = { ...samples[last], ...sample };
  replaceContent($("traffic-tiles"), ...createTiles(state, now, minutes));
  showDrift(state, describeWindow(last, KEPT_SECONDS));
  replaceContent($("traffic-load"), ...createLoad(state, minutes));
  if (!charts) {
    charts = createCharts();
    $("traffic-charts").append(...Object.values(charts).map((each) => each.element));
  }
  updateCharts();
  $("traffic-outcomes").textContent = `Since the start: ${Object.entries(state.requests).map(([name, n]) => `${formatCount(n)} ${OUTCOMES[name]}`).join(", ")}.`;
}

/** Analytics: what the server does, as it does it. */

import { get } from "../api.js";
import { bars, columns, table } from "../charts.js";
import { $, brief, clock, h } from "../dom.js";
import { onToken } from "../token.js";
import { locked } from "./locked.js";

const EVERY = 4000; // ms
const MINUTES = 30;
const HOURS = 24;
const RECENT = 2000; // calls that the chart of the last minutes is made of
const KINDS = { stt: "Transcription", response: "Answer", tts: "Voice" };
const RANKS = [50, 90, 95, 99];

let shown = false;
let timer = null;
let asking = null;

export const analytics = {
  start() {
    onToken(() => shown && analytics.show());
    document.addEventListener("visibilitychange", () => timer !== null && refresh());
  },
  show() {
    stop();
    shown = true;
    timer = setInterval(refresh, EVERY);
    refresh();
  },
  hide() {
    shown = false;
    stop();
  },
};

function stop() {
  clearInterval(timer);
  timer = null;
  asking?.abort();
  asking = null;
}

async function refresh() {
  if (document.hidden || asking) return;
  const mine = (asking = new AbortController());
  try {
    draw(await ask(mine.signal));
    locked($("#analytics-locked"), null);
    $("#analytics-board").hidden = false;
  } catch (error) {
    if (mine.signal.aborted) return;
    if (error.needsToken) stop(); // asking again would be refused again
    $("#analytics-board").hidden = true;
    locked($("#analytics-locked"), error, "How the server is used can be seen with the management token.");
  }
  if (asking === mine) asking = null;
}

async function ask(signal) {
  const health = await get("/api/health/detailed", signal);
  const now = Date.now() / 1000;
  const ranks = RANKS.map((rank) => `rank=${rank}`).join("&");
  const wanted = {
    usage: "usage",
    hourly: `hourly?limit=${HOURS}&since=${now - HOURS * 3600}`,
    recent: `recent?limit=${RECENT}&since=${now - MINUTES * 60}`,
    engines: "engines?limit=6",
    voices: "voices?limit=6",
    languages: "languages?limit=6",
    errors: "errors?limit=6",
  };
  for (const kind of Object.keys(KINDS)) {
    wanted[`${kind}.duration`] = `percentiles?measure=duration&request_type=${kind}&${ranks}`;
    wanted[`${kind}.first`] = `percentiles?measure=time_to_first_result&request_type=${kind}&${ranks}`;
  }
  const answers = Object.entries(wanted).map(async ([name, path]) => [
    name,
    await get(`/api/analytics/${path}`, signal),
  ]);
  return { now, health, ...Object.fromEntries(await Promise.all(answers)) };
}

function draw(found) {
  const { usage, health } = found;
  $("#analytics-board").replaceChildren(
    figures([
      [usage.calls.toLocaleString("en"), "calls"],
      [`${usage.error_rate.toFixed(usage.error_rate > 0 ? 1 : 0)} %`, "failed"],
      [clock(usage.audio_seconds), "of sound"],
      [`${health.conversations}`, `of ${health.max_conversations} conversations`],
      [clock(health.uptime_seconds), "since the start"],
    ]),
    card("Calls in the last 30 minutes", "wide", columns(minutes(found), "Calls in the last 30 minutes")),
    card("Engines", "", usageBars(found.engines)),
    card("Calls in the last 24 hours", "wide", columns(hours(found), "Calls in the last 24 hours")),
    card("Voices", "", usageBars(found.voices)),
    card("How long calls took", "wide", latency(found)),
    card("Errors", "", errorBars(found.errors)),
    card("The last calls", "wide", lastCalls(found.recent)),
    card("Languages", "", usageBars(found.languages)),
  );
}

const card = (title, kind, ...children) =>
  h("section", { class: `card ${kind}` }, h("h2", {}, title), ...children);

function figures(values) {
  const each = values.map(([value, what]) =>
    h("p", { class: "figure" }, h("output", {}, value), h("span", {}, what)),
  );
  return h("section", { class: "card figures", "aria-label": "In all" }, ...each);
}

const time = (at) => new Date(at * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });

function minutes({ now, recent }) {
  const first = Math.floor(now / 60) - MINUTES + 1;
  const counts = Array.from({ length: MINUTES }, () => ({ good: 0, bad: 0 }));
  for (const { started_at: at, outcome } of recent) {
    const count = counts[Math.floor(at / 60) - first];
    if (count) count[outcome === "error" ? "bad" : "good"]++;
  }
  return counts.map((count, n) => labelled(count, (first + n) * 60, n % 6 === 0));
}

function hours({ now, hourly }) {
  const first = Math.floor(now / 3600) - HOURS + 1;
  const known = new Map(hourly.map(({ start, usage }) => [Math.floor(start / 3600), usage]));
  return Array.from({ length: HOURS }, (_, n) => {
    const { calls = 0, errors = 0 } = known.get(first + n) ?? {};
    return labelled({ good: calls - errors, bad: errors }, (first + n) * 3600, n % 6 === 0);
  });
}

function labelled(count, at, says) {
  const words = `${time(at)}: ${count.good + count.bad} calls, ${count.bad} failed`;
  return { ...count, label: says ? time(at) : "", title: words };
}

const nothing = (words) => h("p", { class: "hint" }, words);

function usageBars(rows) {
  if (rows.length === 0) return nothing("Nothing yet.");
  return bars(
    rows.map(({ name, usage }) => ({
      name: name || "not said",
      value: usage.calls,
      text: `${usage.calls.toLocaleString("en")}${usage.errors > 0 ? `, ${usage.errors} failed` : ""}`,
    })),
  );
}

function errorBars(rows) {
  if (rows.length === 0) return nothing("None.");
  const row = ({ error_type: name, calls, last_at: at }) => ({ name, value: calls, text: `${calls}, last at ${time(at)}` });
  return bars(rows.map(row), "bad");
}

function latency(found) {
  const row = (kind, measure, name) => {
    const { calls, values } = found[`${kind}.${measure}`];
    return [name, calls.toLocaleString("en"), ...RANKS.map((rank) => duration(values[`p${rank}`]))];
  };
  const rows = Object.entries(KINDS).flatMap(([kind, name]) => [
    row(kind, "first", `${name}, first result`),
    row(kind, "duration", `${name}, in all`),
  ]);
  return table(["", "Calls", ...RANKS.map((rank) => `${rank} %`)], rows, "Share of the calls that were done within a time");
}

const duration = (value) => (value == null ? "–" : brief(value));

function lastCalls(recent) {
  if (recent.length === 0) return nothing("None in the last 30 minutes.");
  const rows = recent
    .slice(0, 6)
    .map((call) => [
      `${time(call.started_at)} ${KINDS[call.request_type] ?? call.request_type}`,
      call.engine,
      call.error_type ?? call.outcome,
      duration(call.duration),
    ]);
  return table(["", "Engine", "Outcome", "Took"], rows, "The last calls");
}

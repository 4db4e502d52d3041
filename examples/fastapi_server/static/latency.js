/** Where the time of a turn went: the server's figures, and this page's own estimates. */

import { brief, h, seconds, svg } from "./dom.js";

/** A part of the time until an answer is heard. @typedef {{n: number, name: string, seconds: number}} Stage */

const MEASURED = [
  ["end_of_turn_delay", "Waiting for more from you"],
  ["transcription_delay", "Transcription"],
  ["time_to_first_text", "Answer"],
  ["tts_time_to_first_byte", "Voice"],
  ["handover_delay", "Handover"],
];
const NAMES = [...MEASURED.map(([, name]) => name), "Network", "Playing"];
const KEPT = 8;

/**
 * @param {Record<string, number | null>} metrics - of the server, in seconds
 * @param {number | null} network - there and back
 * @param {number} playing - from a sound's arrival until it is heard
 * @returns {Stage[]} none if there was no answer
 */
export function stagesOf(metrics, network, playing) {
  if (metrics.time_to_first_audio == null) return [];
  const values = [...MEASURED.map(([key]) => metrics[key]), network, playing];
  return NAMES.map((name, n) => ({ n: n + 1, name, seconds: Math.max(0, values[n] ?? 0) }));
}

/** @param {Stage[]} stages */
export const total = (stages) => stages.reduce((sum, stage) => sum + stage.seconds, 0);

const inWords = (stages) =>
  stages.map((stage) => `${stage.name} ${brief(stage.seconds)}`).join(", ");

function parts(stages, scale, y, height) {
  let x = 0;
  return stages.map((stage) => {
    const width = (100 * stage.seconds) / scale;
    const part = svg(
      "rect",
      { class: `stage-${stage.n}`, x, y, width, height },
      svg("title", {}, `${stage.name}: ${brief(stage.seconds)}`),
    );
    x += width;
    return part;
  });
}

/** One turn's time as a bar. @param {Stage[]} stages */
export function bar(stages) {
  return svg(
    "svg",
    { viewBox: "0 0 100 8", preserveAspectRatio: "none", role: "img", "aria-label": inWords(stages) },
    ...parts(stages, total(stages), 0, 8),
  );
}

/** The last turns, one below the other. */
export class LatencyPanel {
  /** @type {Stage[][]} */
  #turns = [];

  /** @param {HTMLElement} last @param {HTMLElement} median @param {HTMLElement} chart @param {HTMLElement} legend */
  constructor(last, median, chart, legend) {
    this.last = last;
    this.median = median;
    this.chart = chart;
    this.legend = legend;
    this.#draw();
  }

  /** @param {Stage[]} stages */
  add(stages) {
    this.#turns = [...this.#turns, stages].slice(-KEPT);
    this.#draw();
  }

  clear() {
    this.#turns = [];
    this.#draw();
  }

  #draw() {
    const newest = this.#turns.at(-1);
    this.last.textContent = newest ? seconds(total(newest)) : "–";
    const totals = this.#turns.map(total).sort((a, b) => a - b);
    const n = totals.length;
    this.median.textContent =
      n < 2 ? "" : `Median of the last ${n} answers: ${seconds(totals[Math.floor(n / 2)])}`;
    this.legend.replaceChildren(
      ...NAMES.flatMap((name, n) => [
        h("i", { class: `stage-${n + 1}`, "aria-hidden": "true" }),
        h("dt", {}, name),
        h("dd", {}, newest ? brief(newest[n].seconds) : "–"),
      ]),
    );
    const scale = Math.max(1, ...this.#turns.map(total));
    const row = 100 / KEPT;
    const rows = Array.from({ length: KEPT }, (_, n) => n * row + 2).flatMap((y, n) => [
      svg("rect", { class: "track", x: 0, y, width: 100, height: row - 5 }),
      ...parts(this.#turns[n] ?? [], scale, y, row - 5),
    ]);
    this.chart.replaceChildren(
      svg(
        "svg",
        {
          viewBox: "0 0 100 100",
          preserveAspectRatio: "none",
          height: 150,
          role: "img",
          "aria-label": this.#turns.map((stages) => seconds(total(stages))).join(", ") || "No turns yet",
        },
        ...rows,
      ),
    );
  }
}

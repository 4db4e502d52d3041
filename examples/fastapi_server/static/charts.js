/** Small charts of the page's own. Each says in words what it shows. */

import { h, svg } from "./dom.js";

const HEIGHT = 190;
const LEFT = 34;
const BOTTOM = 22;

/** A round number that is at least `value`, and whose half is one too: 2, 4 or 10 with zeros. */
function rounded(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [2, 4, 10, 20].map((n) => n * power).find((n) => n >= value);
}

/**
 * Columns over time: what failed below, the rest on top.
 *
 * @param {{label: string, title: string, good: number, bad: number}[]} columns - a label may be ""
 * @param {string} name
 */
export function columns(columns, name) {
  // Letters keep their size: a narrow page has a narrow chart, not a small one.
  const width = Math.min(640, document.documentElement.clientWidth - 60);
  const most = rounded(Math.max(4, ...columns.map(({ good, bad }) => good + bad)));
  const height = (value) => ((HEIGHT - BOTTOM - 8) * value) / most;
  const base = HEIGHT - BOTTOM;
  const step = (width - LEFT) / columns.length;
  const sum = columns.reduce((all, { good, bad }) => all + good + bad, 0);
  const lines = [0, most / 2, most].flatMap((value) => [
    svg("line", { class: "grid", x1: LEFT, x2: width, y1: base - height(value), y2: base - height(value) }),
    svg("text", { x: LEFT - 7, y: base - height(value) + 4, "text-anchor": "end" }, String(value)),
  ]);
  const bars = columns.flatMap(({ label, title, good, bad }, n) => {
    const at = { x: LEFT + n * step + step * 0.12, width: step * 0.76 };
    const middle = LEFT + (n + 0.5) * step;
    return [
      bad > 0 && svg("rect", { class: "bar bad", ...at, y: base - height(bad), height: height(bad) }),
      good > 0 &&
        svg("rect", { class: "bar", ...at, y: base - height(good + bad), height: height(good) }, svg("title", {}, title)),
      label && svg("text", { x: middle, y: HEIGHT - 5, "text-anchor": "middle" }, label),
    ].filter(Boolean);
  });
  return svg(
    "svg",
    { class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `${name}: ${sum} in all` },
    ...lines,
    ...bars,
  );
}

/**
 * A list in which each value is a bar, too.
 *
 * @param {{name: string, value: number, text: string}[]} rows
 * @param {string} [kind]
 */
export function bars(rows, kind = "") {
  const most = Math.max(1, ...rows.map(({ value }) => value));
  return h(
    "ul",
    { class: `bars ${kind}` },
    ...rows.map(({ name, value, text }) =>
      h(
        "li",
        {},
        h("span", { title: name }, name),
        h("span", { class: "value" }, text),
        svg(
          "svg",
          { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
          svg("rect", { width: (100 * value) / most, height: 6 }),
        ),
      ),
    ),
  );
}

/** @param {string[]} head @param {string[][]} rows @param {string} caption */
export function table(head, rows, caption) {
  const cells = (row, tag) => row.map((cell, n) => h(n === 0 ? "th" : tag, n === 0 && tag === "td" ? { scope: "row" } : tag === "th" ? { scope: "col" } : {}, cell));
  return h(
    "table",
    { class: "table" },
    h("caption", { class: "visually-hidden" }, caption),
    h("thead", {}, h("tr", {}, ...cells(head, "th"))),
    h("tbody", {}, ...rows.map((row) => h("tr", {}, ...cells(row, "td")))),
  );
}

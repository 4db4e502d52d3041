/** Elements without `innerHTML`: text stays text, whoever wrote it. */

/** @param {string} selector @param {ParentNode} [root] */
export const $ = (selector, root = document) => root.querySelector(selector);

/** @param {string} selector @param {ParentNode} [root] */
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element: `h("button", { class: "quiet", onclick: go }, "Go")`.
 *
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes] - functions are listeners; false and null are left out
 * @param {...(Node | string | null | false)} children
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for the parts of an SVG image. @returns {any} */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** A sign of the page's own. @param {string} name */
export function icon(name) {
  return svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#icon-${name}` }));
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== false));
  return element;
}

/** Let the user save `content` as a file. @param {Blob} content @param {string} name */
export function download(content, name) {
  const link = h("a", { href: URL.createObjectURL(content), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Say it to those who hear the page instead of seeing it. @param {string} text */
export function announce(text) {
  $("#announcer").textContent = text;
}

/** A time for people. @param {number} value - in seconds */
export const seconds = (value) =>
  value < 10 ? `${value.toFixed(2)} s` : value < 120 ? `${value.toFixed(1)} s` : clock(value);

/** The same for times that may be short. @param {number} value - in seconds */
export const brief = (value) => (value < 1 ? `${Math.round(value * 1000)} ms` : seconds(value));

/** Minutes and seconds: 1:05. @param {number} value */
export function clock(value) {
  const whole = Math.max(0, Math.floor(value));
  const rest = String(whole % 60).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${rest}`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

/** @param {number} bytes */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  return bytes < 1e6 ? `${Math.round(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

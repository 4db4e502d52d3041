/**
 * The token that opens the management views: kept for this tab alone.
 *
 * The server prints a link with `#token=…` when it starts. What follows the `#` is sent to
 * nobody, and is taken out of the address bar at once.
 */

import { $ } from "./dom.js";

const KEY = "token";

const listeners = new Set();

/** @returns {string | null} */
export const token = () => sessionStorage.getItem(KEY);

/** @param {string | null} value */
export function keepToken(value) {
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
  for (const listener of listeners) listener();
}

/** @param {() => void} listener - called when there is another token, or none */
export function onToken(listener) {
  listeners.add(listener);
}

/** Take a token out of the address. Anything else after the `#` stays. */
export function takeTokenFromAddress() {
  const parts = location.hash.slice(1).split("&");
  const found = parts.find((part) => part.startsWith("token="));
  if (found === undefined) return;
  const rest = parts.filter((part) => part !== found).join("&");
  history.replaceState(null, "", `${location.pathname}${location.search}${rest && `#${rest}`}`);
  keepToken(decoded(found.slice("token=".length)));
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // somebody has cut it
  }
}

/** Ask for one. @param {string} [why] */
export function askForToken(why = "") {
  const dialog = $("#token-dialog");
  $("#token-why").textContent = why;
  $("#token-field").value = "";
  $("#token-forget").hidden = token() === null;
  if (!dialog.open) dialog.showModal();
}

/** Make the dialog work; once. */
export function startTokenDialog() {
  const dialog = $("#token-dialog");
  $("form", dialog).addEventListener("submit", (event) => {
    event.preventDefault();
    keepToken($("#token-field").value.trim());
    dialog.close();
  });
  $("#token-cancel").addEventListener("click", () => dialog.close());
  $("#token-forget").addEventListener("click", () => {
    keepToken(null);
    dialog.close();
  });
}

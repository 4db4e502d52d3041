/** A view that needs the token, before there is one. */

import { h, icon } from "../dom.js";
import { askForToken } from "../token.js";

/**
 * @param {HTMLElement} element - where it is said
 * @param {any} error - why the view cannot be shown; null if it can
 * @param {string} [why] - what the token is good for
 */
export function locked(element, error, why = "") {
  element.hidden = error === null;
  if (error === null) return;
  if (!error.needsToken) {
    element.replaceChildren(h("h2", {}, "This cannot be shown now"), h("p", {}, error.message));
    return;
  }
  element.replaceChildren(
    icon("key"),
    h("h2", {}, error.status === 403 ? "This token does not permit it" : "This is for the server's owner"),
    h("p", {}, why, " The server prints it when it starts, at the end of a link."),
    h("button", { class: "primary", type: "button", onclick: () => askForToken() }, "Enter the token"),
  );
}

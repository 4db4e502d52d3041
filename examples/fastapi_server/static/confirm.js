/** Ask before something is gone for good. */

import { $ } from "./dom.js";

/** @param {string} title @param {string} text @param {string} yes - what the button says */
export function confirmed(title, text, yes) {
  const dialog = $("#confirm-dialog");
  $("#confirm-title").textContent = title;
  $("#confirm-text").textContent = text;
  $("#confirm-yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** What went wrong, said on the page. */

import { ServerProblem } from "./api.js";
import { $, h, icon } from "./dom.js";
import { askForToken } from "./token.js";

const MOST = 4;

/**
 * @param {string} title
 * @param {{detail?: string, requestId?: string | null, kind?: "bad" | "good", action?: Node | null, stays?: boolean}} [options]
 */
export function notify(title, { detail = "", requestId = null, kind = "bad", action = null, stays = kind === "bad" } = {}) {
  const notices = $("#notices");
  const notice = h(
    "div",
    { class: `notice ${kind}`, role: kind === "bad" ? "alert" : "status" },
    h(
      "div",
      { class: "notice-text" },
      h("strong", {}, title),
      detail && h("p", {}, detail),
      action,
      requestId && requestIdOf(requestId),
    ),
    h(
      "button",
      { class: "icon-button", type: "button", "aria-label": "Dismiss", onclick: () => notice.remove() },
      icon("close"),
    ),
  );
  notices.append(notice);
  while (notices.children.length > MOST) notices.firstElementChild.remove();
  if (!stays) setTimeout(() => notice.remove(), 6000);
}

/** @param {string} title - what was being done @param {unknown} error */
export function complain(title, error) {
  if (error instanceof DOMException && error.name === "AbortError") return;
  if (error instanceof ServerProblem && error.status === 401) {
    askForToken(error.message);
    return;
  }
  if (error instanceof ServerProblem) {
    notify(title, { detail: error.message, requestId: error.requestId });
    return;
  }
  console.error(error);
  notify(title, { detail: "Something in this page went wrong. Reload it, and try again." });
}

function requestIdOf(id) {
  const button = h("button", { class: "link", type: "button", onclick: copy }, "Copy");
  async function copy() {
    try {
      await navigator.clipboard.writeText(id);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select and copy it";
    }
  }
  return h("p", { class: "request-id" }, "Request ", h("code", {}, id), " ", button);
}

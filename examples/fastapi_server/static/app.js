/** The page: its tabs, and what all views share. */

import { initialData } from "./api.js";
import { $, $$ } from "./dom.js";
import { askForToken, onToken, startTokenDialog, takeTokenFromAddress, token } from "./token.js";
import { analytics } from "./views/analytics.js";
import { settings } from "./views/settings.js";
import { speak } from "./views/speak.js";
import { talk } from "./views/talk.js";
import { transcribe } from "./views/transcribe.js";
import { voices } from "./views/voices.js";

/**
 * A view: `start` is called before it is first seen, `show` and `hide` each time.
 *
 * @typedef {{start: () => void, show?: () => void, hide?: () => void}} View
 */

/** @type {Record<string, View>} */
const VIEWS = { talk, speak, transcribe, voices, settings, analytics };
const HEALTH_EVERY = 10_000; // ms

const started = new Set();
let shown = null;

function show(name, focus = false) {
  if (name === shown) return;
  if (shown) VIEWS[shown].hide?.();
  shown = name;
  for (const tab of $$("[role=tab]")) {
    const chosen = tab.dataset.view === name;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    $(`#view-${tab.dataset.view}`).hidden = !chosen;
    if (chosen && focus) tab.focus();
  }
  if (!started.has(name)) {
    started.add(name);
    VIEWS[name].start();
  }
  VIEWS[name].show?.();
}

function showWhatTheAddressSays() {
  takeTokenFromAddress();
  const name = location.hash.slice(1);
  if (name in VIEWS || !shown) show(name in VIEWS ? name : "talk");
}

function startTabs() {
  const tabs = $$("[role=tab]");
  const open = (tab, focus) => {
    history.replaceState(null, "", `#${tab.dataset.view}`);
    show(tab.dataset.view, focus);
  };
  for (const [n, tab] of tabs.entries()) {
    tab.addEventListener("click", () => open(tab, false));
    tab.addEventListener("keydown", (event) => {
      const to = {
        ArrowRight: (n + 1) % tabs.length,
        ArrowLeft: (n + tabs.length - 1) % tabs.length,
        Home: 0,
        End: tabs.length - 1,
      }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      open(tabs[to], true);
    });
  }
  addEventListener("hashchange", showWhatTheAddressSays);
  $(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address says which view is open
    $("#main").focus();
  });
}

function startTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  $("#theme-button").addEventListener("click", () => {
    const root = document.documentElement;
    const now = root.dataset.theme ?? (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
  });
}

function startToken() {
  startTokenDialog();
  const button = $("#token-button");
  const mark = () => button.classList.toggle("on", token() !== null);
  button.addEventListener("click", () => askForToken());
  onToken(mark);
  mark();
}

const STATES = {
  healthy: ["ready", "Ready"],
  degraded: ["warn", "Partly ready"],
  starting: ["warn", "Starting"],
  draining: ["warn", "Stopping"],
  error: ["bad", "Not ready"],
  silent: ["bad", "No answer"],
};

async function tellHealth() {
  if (document.hidden) return;
  const pill = $("#server");
  const health = await fetch("/health").then((response) => response.json(), () => null);
  const { status = "silent", state = "" } = health ?? {};
  const [kind, words] = (status === "error" && STATES[state]) || STATES[status] || STATES.error;
  if (pill.dataset.state === kind && pill.textContent === words) return;
  pill.dataset.state = kind;
  pill.textContent = words;
}

async function tellTitle() {
  const { title, config } = await initialData();
  const name = title ?? config?.ui?.title;
  if (!name) return;
  $("#title").textContent = name;
  document.title = name;
}

startTabs();
startTheme();
startToken();
showWhatTheAddressSays();
tellTitle();
tellHealth();
setInterval(tellHealth, HEALTH_EVERY);
document.addEventListener("visibilitychange", tellHealth);

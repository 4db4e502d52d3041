/** Push to talk: a turn lasts while the space bar, or a button on the page, is held. */

import { $ } from "../dom.js";

// Here the space bar has a meaning of its own.
const KEEPS_SPACE = "input, textarea, select, summary, a, dialog *, [role=tab]";

export class PushToTalk {
  #connected = false;
  #held = false;

  /** @param {() => void} onBegin @param {() => void} onCommit */
  constructor(onBegin, onCommit) {
    this.onBegin = onBegin;
    this.onCommit = onCommit;
    this.choice = $("#ptt");
    this.button = $("#ptt-button");
    this.choice.addEventListener("change", () => this.#chosen());
    this.button.addEventListener("pointerdown", (event) => {
      this.button.setPointerCapture(event.pointerId);
      this.#hold();
    });
    this.button.addEventListener("pointerup", () => this.#release());
    this.button.addEventListener("pointercancel", () => this.#release());
    addEventListener("blur", () => this.#release());
    addEventListener("keydown", (event) => this.#onKey(event, () => this.#hold()));
    addEventListener("keyup", (event) => this.#onKey(event, () => this.#release()));
  }

  /** Whether the microphone is to be silent. */
  get silences() {
    return this.choice.checked && !this.#held;
  }

  set connected(value) {
    this.#connected = value;
    this.button.disabled = !value;
    if (!value) this.reset();
  }

  /** Nobody holds anything any more. */
  reset() {
    this.#held = false;
    this.#draw();
  }

  #chosen() {
    this.button.hidden = !this.choice.checked;
    if (!this.choice.checked) this.#release();
    // The space bar shall talk now, not undo the choice.
    else (this.#connected ? this.button : $("#talk-button")).focus();
  }

  #onKey(event, action) {
    if (event.code !== "Space" || !this.choice.checked || !this.#connected) return;
    if ($("#view-talk").hidden || event.target.closest?.(KEEPS_SPACE)) return;
    event.preventDefault();
    if (!event.repeat) action();
  }

  #hold() {
    if (this.#held || !this.#connected) return;
    this.#held = true;
    this.#draw();
    this.onBegin();
  }

  #release() {
    if (!this.#held) return;
    this.#held = false;
    this.#draw();
    this.onCommit();
  }

  #draw() {
    this.button.setAttribute("aria-pressed", String(this.#held));
    this.button.textContent = this.#held ? "Let go when you are done" : "Hold to talk";
  }
}

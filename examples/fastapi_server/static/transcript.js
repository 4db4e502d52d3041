/** The conversation in words: what the user says while they say it, and the answers. */

import { h, seconds } from "./dom.js";
import { bar, total } from "./latency.js";

const MOST = 300; // entries that stay on the page

const WHY_NO_ANSWER = {
  backchannel: "Taken for agreement, not for a turn",
  echo: "Taken for the answer's own echo",
  short: "Too short for a turn",
  silent: "No words in it",
};

/** The words that two transcripts begin with. They are unlikely to change again. */
function agreed(before, now) {
  const old = before.split(/(\s+)/);
  const words = now.split(/(\s+)/);
  let n = 0;
  while (n < words.length && words[n] === old[n]) n++;
  return words.slice(0, n).join("");
}

export class Transcript {
  #you = null; // what is being said: {element, text, partial}
  #answer = null; // what is being answered: {element, text, sentences}
  #unanswered = []; // what has been said

  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
  }

  get isEmpty() {
    return this.element.childElementCount === 0;
  }

  clear() {
    this.element.replaceChildren();
    this.#you = null;
    this.#answer = null;
    this.#unanswered = [];
  }

  /** @param {{text: string, partial: boolean, committed?: string}} message */
  heard({ text, partial, committed }) {
    if (!text.trim()) {
      if (!partial) this.#forgetYou();
      return;
    }
    this.#you ??= { ...this.#turn("you", "You"), before: "" };
    const { words, before, element } = this.#you;
    const settled = partial ? this.#settled(before, text, committed) : text;
    this.#you.before = text;
    words.replaceChildren(settled, h("span", { class: "unsettled" }, text.slice(settled.length)));
    element.setAttribute("aria-busy", String(partial)); // read out when it is complete
    if (!partial) {
      this.#unanswered.push({ element, text });
      this.#you = null;
    }
    this.#scroll();
  }

  /** @param {string} sentence */
  says(sentence) {
    this.#answer ??= { ...this.#turn("answer", "Answer"), text: "" };
    const { text, words } = this.#answer;
    this.#answer.text = text ? `${text} ${sentence}` : sentence;
    words.textContent = this.#answer.text;
    this.#scroll();
  }

  /** The answer was cut off. @param {string} heard - the part of it that was played */
  interrupted(heard) {
    if (!this.#answer) return;
    const { text, words, element } = this.#answer;
    const played = text.startsWith(heard) ? heard : "";
    words.replaceChildren(played, h("span", { class: "unheard" }, text.slice(played.length)));
    element.dataset.heard = heard;
    element.append(h("span", { class: "note" }, heard ? "Interrupted" : "Interrupted before it was heard"));
    this.#answer = null;
    this.#scroll();
  }

  /**
   * @param {{outcome: string, transcript: string}} message
   * @param {import("./latency.js").Stage[]} stages
   */
  ended({ outcome, transcript }, stages) {
    const n = this.#unanswered.findIndex(({ text }) => text === transcript);
    const [said] = n < 0 ? [] : this.#unanswered.splice(n, 1);
    if (outcome in WHY_NO_ANSWER) said?.element.append(h("span", { class: "note" }, WHY_NO_ANSWER[outcome]));
    const answer = this.#answer?.element ?? [...this.element.querySelectorAll(".answer")].at(-1);
    if (stages.length > 0 && answer && !answer.querySelector("figure")) {
      answer.append(h("figure", {}, bar(stages), h("span", {}, `${seconds(total(stages))} to the first sound`)));
    }
    if (outcome === "answered") this.#answer = null;
    this.#scroll();
  }

  /** The turn's answer will not come. @param {string} words */
  failed(words) {
    this.#unanswered.shift();
    this.#answer = null;
    this.event(words, true);
  }

  /** Nothing more comes of what is open: the connection was lost. */
  broken() {
    this.#forgetYou();
    this.#answer = null;
    this.#unanswered = [];
  }

  /** @param {string} words */
  event(words, bad = false) {
    this.#add(h("p", { class: bad ? "event note bad" : "event" }, words));
  }

  #settled(before, text, committed) {
    return committed && text.startsWith(committed) ? committed : agreed(before, text);
  }

  #forgetYou() {
    this.#you?.element.remove();
    this.#you = null;
  }

  #turn(kind, who) {
    const words = h("p");
    const element = h("div", { class: `turn ${kind}` }, h("span", { class: "who" }, who), words);
    this.#add(element);
    return { element, words };
  }

  #add(element) {
    this.element.append(element);
    while (this.element.childElementCount > MOST) this.element.firstElementChild.remove();
    this.#scroll();
  }

  #scroll() {
    const { scrollHeight, scrollTop, clientHeight } = this.element;
    const reading = scrollHeight - scrollTop - clientHeight > 240; // what was said before
    if (!reading) this.element.scrollTop = scrollHeight;
  }
}

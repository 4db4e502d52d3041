/** The voices of the server: which there are, finding one, hearing one. */

import { call, get } from "./api.js";
import { h, icon } from "./dom.js";
import { complain } from "./notices.js";

/** @typedef {{id: string, name: string, type: "predefined" | "reference", path: string, language: string, built_in: boolean, usable: boolean}} Voice */

/** @returns {Promise<Voice[]>} */
export const fetchVoices = () => get("/tts/voices");

const names = new Intl.DisplayNames(["en"], { type: "language", fallback: "code" });

/** What a language is called. @param {string} code */
export function languageName(code) {
  if (!code) return "";
  try {
    return names.of(code) ?? code;
  } catch {
    return code; // eSpeak has codes of its own
  }
}

/** @param {Voice} voice */
export function described(voice) {
  const kind = voice.built_in ? "" : voice.type === "reference" ? "reference" : "uploaded";
  const unusable = voice.usable === false ? "needs an engine that clones" : "";
  const language = languageName(voice.language);
  const tongue = language === voice.name ? voice.id : language; // many are called by it
  return [tongue, kind, unusable].filter(Boolean).join(" · ");
}

/** @param {Voice} voice @param {string} query */
export function matches(voice, query) {
  const text = `${voice.name} ${voice.id} ${voice.language} ${described(voice)}`.toLowerCase();
  return query
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

const audio = new Audio();
let playing = null; // the button of what is heard

function silence() {
  audio.pause();
  playing?.replaceChildren(icon("play"));
  playing?.setAttribute("aria-pressed", "false");
  playing = null;
}

audio.addEventListener("ended", silence);

async function hear(voice, button) {
  const again = playing === button;
  silence();
  if (again) return;
  playing = button;
  button.replaceChildren(icon("stop"));
  button.setAttribute("aria-pressed", "true");
  try {
    const response = await call("GET", `/tts/voices/${encodeURIComponent(voice.id)}/preview`);
    const sound = await response.blob();
    if (playing !== button) return; // another one was pressed meanwhile
    URL.revokeObjectURL(audio.src);
    audio.src = URL.createObjectURL(sound);
    await audio.play();
  } catch (error) {
    silence();
    complain(`${voice.name} cannot be heard`, error);
  }
}

/** A button that lets a voice be heard. @param {Voice} voice */
export function previewButton(voice) {
  const button = h(
    "button",
    {
      class: "icon-button",
      type: "button",
      "aria-label": `Hear ${voice.name}`,
      "aria-pressed": "false",
      onclick: () => hear(voice, button),
    },
    icon("play"),
  );
  return button;
}

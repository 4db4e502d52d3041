/** Speak: a text as sound, heard while it is made, and as a file. */

import { call, initialData } from "../api.js";
import { Player } from "../audio/player.js";
import { $, download, h, seconds, size } from "../dom.js";
import { complain } from "../notices.js";
import { onToken } from "../token.js";
import { described, fetchVoices, matches, previewButton } from "../voice-list.js";
import { wav } from "../wav.js";

const FORMATS = [
  ["wav", "WAV"],
  ["mp3", "MP3"],
  ["opus", "Opus"],
  ["flac", "FLAC"],
  ["pcm", "PCM, 16 bit, without a header"],
];
const LIVE = new Set(["wav", "pcm"]);
const AHEAD = 20; // s that are fetched before they are played

/** What an engine may be told of how to speak. */
const PARAMETERS = {
  speed_factor: { label: "Speed", min: 0.5, max: 2, step: 0.05, value: 1, unit: "×" },
  exaggeration: { label: "Expression", min: 0, max: 2, step: 0.05, value: 0.5, unit: "" },
  temperature: { label: "Temperature", min: 0.05, max: 2, step: 0.05, value: 0.8, unit: "" },
  cfg_weight: { label: "Keep to the text's pace", min: 0, max: 1, step: 0.05, value: 0.5, unit: "" },
};

let all = [];
let most = 20; // voices that are listed at a time
let chosen = null; // a voice; null is the server's default
let abort = null;
let file = null; // {blob, name}
const player = new Player();

export const speak = {
  start() {
    $("#speak-form").addEventListener("submit", (event) => {
      event.preventDefault();
      say();
    });
    $("#speak-stop").addEventListener("click", stop);
    $("#speak-download").addEventListener("click", () => file && download(file.blob, file.name));
    $("#speak-text").addEventListener("input", tellCount);
    $("#voice-search").addEventListener("input", drawVoices);
    $("#voice-search").addEventListener("keydown", (event) => {
      if (event.key === "Enter") event.preventDefault(); // it is no wish to speak
    });
    $("#speak-format").addEventListener("change", tellFormat);
    onToken(loadVoices);
    loadOptions();
  },
  show() {
    loadVoices(); // somebody may have uploaded one
  },
  hide() {
    stop();
  },
};

async function loadOptions() {
  const { capabilities = {}, limits = {}, config = {} } = await initialData();
  const formats = FORMATS.filter(([name]) => capabilities.formats?.includes(name) ?? true);
  $("#speak-format").replaceChildren(...formats.map(([value, label]) => h("option", { value }, label)));
  tellFormat();
  most = config.ui?.max_predefined_voices_in_dropdown ?? most;
  drawVoices();
  if (limits.max_text_length) $("#speak-text").maxLength = limits.max_text_length;
  if (config.ui_state?.last_text) $("#speak-text").value ||= config.ui_state.last_text;
  tellCount();
  const parameters = capabilities.speech_parameters ?? ["speed_factor"];
  const rows = Object.entries(PARAMETERS)
    .filter(([name]) => parameters.includes(name))
    .map(([name, range]) => slider(name, { ...range, value: config.generation_defaults?.[name] ?? range.value }));
  if (parameters.includes("seed")) rows.push(seedField(config.generation_defaults?.seed ?? 0));
  $("#speak-parameters").replaceChildren(...rows);
}

function slider(name, { label, min, max, step, value, unit }) {
  const shown = h("span", { class: "value" }, `${value}${unit}`);
  const tell = ({ target }) => (shown.textContent = `${target.value}${unit}`);
  return h(
    "label",
    { class: "slider" },
    label,
    shown,
    h("input", { type: "range", name, min, max, step, value, "data-default": value, oninput: tell }),
  );
}

function seedField(value) {
  return h(
    "label",
    { class: "field" },
    h("span", {}, "Seed ", h("span", { class: "hint" }, "0 speaks differently each time")),
    h("input", { type: "number", name: "seed", min: 0, step: 1, value, "data-default": value }),
  );
}

// -- the voice

async function loadVoices() {
  try {
    all = await fetchVoices();
  } catch (error) {
    $("#voice-count").textContent = `The voices cannot be listed: ${error.message}`;
    return;
  }
  chosen = all.find((voice) => voice.id === chosen?.id) ?? null;
  drawVoices();
}

function drawVoices() {
  const query = $("#voice-search").value.trim();
  const found = all.filter((voice) => matches(voice, query));
  const listed = found.slice(0, most);
  if (chosen && found.includes(chosen) && !listed.includes(chosen)) listed.unshift(chosen);
  const rows = listed.map((voice) => row(voice));
  if (!query) rows.unshift(row(null));
  $("#voice-list").replaceChildren(...rows);
  const fits = query ? `${found.length} of ${all.length} voices` : `${all.length} voices`;
  $("#voice-count").textContent =
    listed.length < found.length ? `${fits}, the first ${listed.length} are shown: search for others` : fits;
  $("#voice-list :checked")?.closest("div").scrollIntoView({ block: "nearest" });
}

function row(voice) {
  const choose = () => (chosen = voice);
  return h(
    "div",
    {},
    h(
      "label",
      {},
      h("input", {
        type: "radio",
        name: "voice",
        value: voice?.id ?? "",
        checked: (voice?.id ?? null) === (chosen?.id ?? null),
        disabled: voice?.usable === false,
        onchange: choose,
      }),
      h("span", {}, voice?.name ?? "Default voice", " ", h("small", {}, voice ? described(voice) : "as the settings have it")),
    ),
    voice && previewButton(voice),
  );
}

// -- speaking

function tellCount() {
  const { value, maxLength } = $("#speak-text");
  $("#speak-count").textContent = maxLength > 0 ? `${value.length} of ${maxLength}` : `${value.length}`;
}

function tellFormat() {
  $("#speak-format-hint").textContent = LIVE.has($("#speak-format").value)
    ? "You hear it while it is made."
    : "You hear it when all of it is made.";
}

function request(text, format) {
  const body = { text, output_format: format };
  if (chosen?.type === "reference") {
    Object.assign(body, { voice_mode: "clone", reference_audio_filename: chosen.path });
  } else if (chosen) {
    body.predefined_voice_id = chosen.id;
  }
  for (const input of $("#speak-parameters").querySelectorAll("input")) {
    if (input.value !== input.dataset.default) body[input.name] = Number(input.value);
  }
  return body;
}

async function say() {
  const text = $("#speak-text").value;
  if (!text.trim()) {
    tell("There is nothing to say: write something first.");
    $("#speak-text").focus();
    return;
  }
  stop();
  const format = $("#speak-format").value;
  const mine = (abort = new AbortController());
  setBusy(true);
  tell("Speaking");
  const began = performance.now();
  try {
    await player.open();
    if (LIVE.has(format)) await live(text, format, began, mine.signal);
    else await whole(text, format, began, mine.signal);
  } catch (error) {
    if (abort === mine) tell(mine.signal.aborted ? "Stopped" : "");
    complain("The text could not be spoken", error);
  }
  if (abort !== mine) return;
  abort = null;
  setBusy(false);
}

async function live(text, format, began, signal) {
  const response = await call("POST", "/tts", { json: { ...request(text, "pcm"), stream: true }, signal });
  const rate = Number(response.headers.get("X-Sample-Rate"));
  const pieces = [];
  let made = 0;
  let first = null;
  player.begin(rate);
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    first ??= (performance.now() - began) / 1000;
    pieces.push(value);
    made += value.length / 2 / rate;
    player.push(value);
    tell(`Speaking: ${seconds(made)} made`);
    await room(signal);
  }
  player.end();
  const sound = wav(pieces, rate);
  const blob = format === "pcm" ? new Blob(pieces, { type: "audio/pcm" }) : sound;
  keep(blob, sound, format);
  const took = (performance.now() - began) / 1000;
  tell(`First sound after ${seconds(first ?? took)}, all of it after ${seconds(took)}`);
  $("#speak-facts").textContent = `${seconds(made)}, ${rate} Hz, ${size(blob.size)}`;
}

/** Wait until what is there has mostly been played: a long text is not all kept in memory. */
async function room(signal) {
  while (player.progress.waiting > AHEAD) {
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

async function whole(text, format, began, signal) {
  const response = await call("POST", "/tts", { json: request(text, format), signal });
  const blob = await response.blob();
  keep(blob, blob, format);
  tell(`Made in ${seconds((performance.now() - began) / 1000)}`);
  const rate = response.headers.get("X-Sample-Rate");
  $("#speak-facts").textContent = [rate && `${rate} Hz`, size(blob.size)].filter(Boolean).join(", ");
  await $("#speak-audio").play();
}

function keep(blob, sound, format) {
  const audio = $("#speak-audio");
  if (audio.src) URL.revokeObjectURL(audio.src);
  audio.src = URL.createObjectURL(sound);
  file = { blob, name: `speech.${format}` };
  $("#speak-result").hidden = false;
}

function stop() {
  abort?.abort();
  abort = null;
  player.flush();
  $("#speak-audio").pause();
  setBusy(false);
}

function setBusy(busy) {
  $("#speak-stop").disabled = !busy && !player.progress.playing;
}

function tell(words) {
  $("#speak-status").textContent = words;
}

player.onProgress = () => setBusy(abort !== null);

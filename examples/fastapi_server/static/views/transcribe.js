/** Transcribe: what is said in a recording. */

import { ServerProblem, initialData, upload } from "../api.js";
import { WRITERS } from "../captions.js";
import { $, $$, announce, clock, download, h, seconds, size } from "../dom.js";
import { EventReader } from "../events.js";
import { complain } from "../notices.js";
import { languageName } from "../voice-list.js";

const LANGUAGES =
  "ar da de el en es fi fr he hi it ja ko ms nl no pl pt ru sv sw tr uk zh".split(" ");

let abort = null;
let name = "";
let transcript = null;

export const transcribe = {
  start() {
    const languages = LANGUAGES.map((code) => h("option", { value: code }, languageName(code)));
    languages.sort((a, b) => a.textContent.localeCompare(b.textContent));
    $("#transcribe-language").append(...languages);
    $("#transcribe-file").addEventListener("change", ({ target }) => {
      if (target.files.length > 0) begin(target.files[0]);
      target.value = ""; // so that the same file can be chosen again
    });
    $("#transcribe-cancel").addEventListener("click", () => abort?.abort());
    $("#transcribe-audio").addEventListener("timeupdate", markCurrent);
    $("#transcribe-audio").addEventListener("error", ({ target }) => (target.hidden = true));
    for (const button of $$("#transcribe-downloads button")) {
      button.addEventListener("click", () => save(button.dataset.format));
    }
    startDrop($("#drop"));
    initialData().then(({ capabilities = {} }) => {
      $("#transcribe-form .field").hidden = capabilities.languages === false;
    });
  },
};

const keepPage = (event) => event.dataTransfer.types.includes("Files") && event.preventDefault();

function startDrop(area) {
  // A file that misses the field must not replace the page.
  for (const type of ["dragover", "drop"]) addEventListener(type, keepPage);
  area.addEventListener("dragover", () => area.classList.add("over"));
  for (const type of ["dragleave", "drop"]) {
    area.addEventListener(type, () => area.classList.remove("over"));
  }
  area.addEventListener("drop", ({ dataTransfer }) => {
    if (dataTransfer.files.length > 0) begin(dataTransfer.files[0]);
  });
}

async function begin(file) {
  abort?.abort();
  const mine = (abort = new AbortController());
  name = file.name.replace(/\.[^.]*$/, "");
  transcript = null;
  $("#drop strong").textContent = file.name;
  $("#transcribe-text").replaceChildren();
  $("#transcribe-downloads").hidden = true;
  $("#transcribe-facts").textContent = "";
  load(file);
  progress("Sending", 0);
  try {
    await checkSize(file);
    await send(file, mine.signal);
  } catch (error) {
    if (abort !== mine) return; // another recording was chosen
    $("#transcribe-text").replaceChildren();
    $("#transcribe-facts").textContent = mine.signal.aborted
      ? "Cancelled."
      : "This recording was not transcribed.";
    complain("The recording could not be transcribed", error);
  }
  if (abort !== mine) return;
  abort = null;
  $("#transcribe-progress").hidden = true;
}

async function checkSize(file) {
  const most = (await initialData()).limits?.max_upload_mb;
  if (most && file.size > most * 1e6) {
    throw new ServerProblem(`It has ${size(file.size)}; the server takes ${most} MB.`);
  }
}

function load(file) {
  const audio = $("#transcribe-audio");
  if (audio.src) URL.revokeObjectURL(audio.src);
  audio.src = URL.createObjectURL(file);
  audio.hidden = false;
}

async function send(file, signal) {
  const form = new FormData();
  form.append("audio_file", file);
  const language = $("#transcribe-language").value;
  if (language) form.append("language", language);
  const events = new EventReader();
  let failure = null;
  await upload("/stt/stream", form, {
    signal,
    onSent: (share) =>
      share < 1 ? progress(`Sending: ${Math.round(share * 100)} %`, share) : progress("Listening", null),
    onText: (text) => {
      for (const { type, data } of events.read(text)) {
        if (type === "error") failure = data;
        else EVENTS[type]?.(data);
      }
    },
  });
  if (failure) throw new ServerProblem(failure.detail, 500, failure.request_id);
  if (!transcript) throw new ServerProblem("The server ended before the transcript was complete.");
}

const EVENTS = {
  progress: ({ seconds_done: done, seconds_total: total }) =>
    progress(`Listening: ${clock(done)} of ${clock(total)}`, total ? done / total : 1),
  partial({ text }) {
    $("#transcribe-text").replaceChildren(h("p", { class: "unsettled" }, text));
  },
  final(data) {
    transcript = data;
    drawTranscript();
  },
};

function progress(words, share) {
  $("#transcribe-progress").hidden = false;
  $("#transcribe-status").textContent = words;
  if (share === null) $("#transcribe-bar").removeAttribute("value");
  else $("#transcribe-bar").value = share;
}

function drawTranscript() {
  const { text, segments, duration, language, confidence } = transcript;
  const facts = [
    seconds(duration),
    languageName(language),
    confidence != null && `${Math.round(confidence * 100)} % sure`,
  ];
  $("#transcribe-facts").textContent = facts.filter(Boolean).join(" · ");
  $("#transcribe-downloads").hidden = false;
  const rows = segments.length > 0 ? segments.map(row) : [h("p", {}, text)];
  $("#transcribe-text").replaceChildren(
    ...(text.trim() ? rows : [h("p", { class: "hint" }, "Nobody says anything in it.")]),
  );
  announce("The transcript is complete");
}

function row({ text, start, end }) {
  return h(
    "button",
    { type: "button", "data-start": start, "data-end": end, onclick: () => playFrom(start) },
    h("time", {}, clock(start)),
    h("span", {}, text.trim()),
  );
}

async function playFrom(start) {
  const audio = $("#transcribe-audio");
  audio.currentTime = start;
  try {
    await audio.play();
  } catch {
    $("#transcribe-facts").textContent = "This browser cannot play that kind of file.";
  }
}

function markCurrent({ target }) {
  for (const row of $$("#transcribe-text button")) {
    const { start, end } = row.dataset;
    const current = target.currentTime >= Number(start) && target.currentTime < Number(end);
    row.setAttribute("aria-current", String(current));
  }
}

function save(format) {
  const type = format === "json" ? "application/json" : "text/plain";
  download(new Blob([WRITERS[format](transcript)], { type }), `${name}.${format}`);
}

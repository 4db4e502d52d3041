/** Voices: which there are; adding one, with consent; deleting one. */

import { call, upload } from "../api.js";
import { confirmed } from "../confirm.js";
import { $, h, icon } from "../dom.js";
import { complain, notify } from "../notices.js";
import { askForToken, onToken, token } from "../token.js";
import { described, fetchVoices, matches, previewButton } from "../voice-list.js";

let all = [];

export const voices = {
  start() {
    $("#voices-search").addEventListener("input", draw);
    $("#voices-form").addEventListener("submit", (event) => {
      event.preventDefault();
      add(event.target);
    });
    onToken(load);
  },
  show: () => load(),
};

async function load() {
  try {
    all = await fetchVoices();
    draw();
  } catch (error) {
    $("#voices-count").textContent = `The voices cannot be listed: ${error.message}`;
  }
}

function draw() {
  const query = $("#voices-search").value.trim();
  const found = all.filter((voice) => matches(voice, query));
  found.sort((a, b) => Number(a.built_in) - Number(b.built_in)); // uploaded ones first
  $("#voices-list").replaceChildren(...found.map(row));
  const uploaded = all.filter((voice) => !voice.built_in).length;
  $("#voices-count").textContent = query
    ? `${found.length} of ${all.length} voices`
    : `${all.length} voices, ${uploaded} of them uploaded`;
}

function row(voice) {
  return h(
    "li",
    {},
    h("span", { class: "name" }, voice.name, h("small", {}, described(voice))),
    previewButton(voice),
    !voice.built_in &&
      h(
        "button",
        { class: "icon-button", type: "button", "aria-label": `Delete ${voice.name}`, onclick: () => remove(voice) },
        icon("delete"),
      ),
  );
}

const folder = ({ type }) => (type === "reference" ? "reference-audio" : "predefined-voices");

async function remove(voice) {
  const title = `Delete ${voice.name}?`;
  const text = "Its recording, and all that was made of it, are removed from the server for good.";
  if (!(await confirmed(title, text, "Delete"))) return;
  try {
    await call("DELETE", `/files/${folder(voice)}/${encodeURIComponent(voice.path)}`);
    notify(`${voice.name} was deleted`, { kind: "good" });
  } catch (error) {
    complain(`${voice.name} was not deleted`, error);
  }
  await load();
}

async function add(form) {
  if (token() === null) {
    askForToken("Voices can be added with it.");
    return;
  }
  const data = new FormData(form);
  const kind = data.get("kind");
  data.delete("kind");
  const bar = $("#voices-bar");
  const submit = $("button[type=submit]", form);
  bar.hidden = false;
  submit.disabled = true;
  $("#voices-errors").replaceChildren();
  try {
    const answer = await upload(`/files/${kind}/upload`, data, { onSent: (share) => (bar.value = share) });
    const { message, errors } = JSON.parse(answer);
    $("#voices-errors").replaceChildren(
      ...errors.map(({ filename, error }) => h("li", {}, `${filename}: ${error}`)),
    );
    notify(message, { kind: "good" });
    if (errors.length === 0) form.reset();
  } catch (error) {
    complain("The voice was not added", error);
  }
  bar.hidden = true;
  submit.disabled = false;
  await load();
}

/** Settings: all that there are, in groups, with their units and ranges. */

import { call, get } from "../api.js";
import { confirmed } from "../confirm.js";
import { $, $$, h } from "../dom.js";
import { complain, notify } from "../notices.js";
import { onToken } from "../token.js";
import { locked } from "./locked.js";
import { at, field, options, title, words } from "./settings-fields.js";

let all = []; // {option, field, row, error, value}

export const settings = {
  start() {
    const form = $("#settings-form");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      save();
    });
    form.addEventListener("input", ({ target }) => {
      if (target.id === "settings-search") search(target.value);
      else mark();
    });
    $("#settings-revert").addEventListener("click", () => {
      for (const each of all) each.field.write(each.value);
      mark();
    });
    $("#settings-reset").addEventListener("click", reset);
    onToken(load);
  },
  show() {
    if (changes().length === 0) load();
  },
};

async function load() {
  try {
    const schema = await get("/config/schema"); // one refusal is enough
    draw(schema, await get("/config/current"));
    locked($("#settings-locked"), null);
    $("#settings-form").hidden = false;
  } catch (error) {
    $("#settings-form").hidden = true;
    locked($("#settings-locked"), error, "The settings can be seen and changed with the management token.");
  }
}

function draw(schema, current) {
  const scrolled = scrollY;
  all = options(schema).map((option) => {
    const made = { option, field: field(option), value: at(current, option.path) };
    made.field.write(made.value);
    return { ...made, ...row(option, made.field.element) };
  });
  const groups = [...new Set(all.map(({ option }) => option.group))];
  $("#settings-fields").replaceChildren(
    ...groups.map((group) => fieldset(group, schema.properties[group].description)),
  );
  $("#settings-groups").replaceChildren(
    ...groups.map((group) => h("li", {}, h("a", { href: "#settings", onclick: (event) => go(event, group) }, words(group)))),
  );
  search($("#settings-search").value);
  mark();
  scrollTo(0, scrolled);
}

function fieldset(group, description) {
  const rows = all.filter(({ option }) => option.group === group).map((each) => each.row);
  const said = description?.toLowerCase().includes(group.replaceAll("_", " ")) ? "" : (description ?? "");
  return h(
    "fieldset",
    { class: "card", id: `group-${group}` },
    h("legend", {}, words(group), " ", h("span", { class: "hint" }, said)),
    ...rows,
  );
}

function go(event, group) {
  event.preventDefault();
  $(`#group-${group}`).scrollIntoView();
  $(`#group-${group} :is(input, select, textarea)`)?.focus({ preventScroll: true });
}

function row(option, element) {
  const { path, schema, restart } = option;
  const id = `setting-${path.replaceAll(".", "-")}`;
  element.id = id;
  element.disabled = option.locked;
  element.setAttribute("aria-describedby", `${id}-hint ${id}-error`);
  const error = h("p", { class: "error", id: `${id}-error`, role: "alert" });
  const hint = [schema.description, range(schema)].filter(Boolean).join(" ");
  const mark = option.locked ? "set where the server is started" : restart ? "needs a restart" : "";
  const made = h(
    "div",
    { class: "setting" },
    h("label", { for: id }, title(option)),
    h("div", { class: "control" }, element, h("span", { class: "unit" }, schema.unit ?? "")),
    h("p", { class: "hint", id: `${id}-hint` }, hint, mark && h("span", { class: "mark" }, mark)),
    error,
  );
  return { row: made, error };
}

function range({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }) {
  const low = minimum ?? exclusiveMinimum;
  const high = maximum ?? exclusiveMaximum;
  const big = (value) => value.toLocaleString("en");
  if (low === undefined && high === undefined) return "";
  if (high === undefined || high > 1e12) return exclusiveMinimum === undefined ? `At least ${big(low)}.` : `More than ${big(low)}.`;
  if (low === undefined) return `At most ${big(high)}.`;
  return `${big(low)} to ${big(high)}.`;
}

// -- changing

function changes() {
  return all.flatMap((each) => {
    const value = each.field.read();
    const same = value === undefined || JSON.stringify(value) === JSON.stringify(each.value);
    return same && each.field.element.validity.valid ? [] : [{ ...each, value }];
  });
}

function mark() {
  const changed = changes();
  const paths = new Set(changed.map(({ option }) => option.path));
  for (const { option, row } of all) row.classList.toggle("changed", paths.has(option.path));
  const n = changed.length;
  $("#settings-status").textContent = n === 0 ? "No changes" : `${n} ${n === 1 ? "change" : "changes"}`;
  $("#settings-save").disabled = n === 0;
  $("#settings-revert").disabled = n === 0;
}

/** Say beside each field what is wrong with it. @returns {boolean} whether all is said there */
function showErrors(errors) {
  for (const { option, field, error } of all) {
    const words = errors[option.path] ?? "";
    error.textContent = words;
    field.element.setAttribute("aria-invalid", String(words !== ""));
  }
  const first = all.find(({ option }) => option.path in errors);
  if (first) {
    first.row.hidden = false;
    first.row.closest("fieldset").hidden = false;
    first.row.scrollIntoView({ block: "center" });
    first.field.element.focus({ preventScroll: true });
  }
  return Object.keys(errors).every((path) => all.some(({ option }) => option.path === path));
}

async function save() {
  const changed = changes();
  const invalid = changed.filter(({ field }) => !field.element.validity.valid);
  if (invalid.length > 0) {
    const errors = invalid.map(({ option, field }) => [option.path, field.element.validationMessage]);
    showErrors(Object.fromEntries(errors));
    return;
  }
  try {
    const tree = Object.fromEntries(changed.map(({ option, value }) => [option.path, value]));
    const saved = await (await call("POST", "/config/save", { json: tree })).json();
    showErrors({});
    said(saved);
    await load();
  } catch (error) {
    refused("The settings were not saved", error);
  }
}

async function reset() {
  const text = "All changes are forgotten, also those in the settings' file.";
  if (!(await confirmed("Reset all settings to their defaults?", text, "Reset"))) return;
  try {
    said(await (await call("POST", "/config/reset")).json());
    await load();
  } catch (error) {
    refused("The settings were not reset", error);
  }
}

function refused(what, error) {
  const fields = error.fields ?? {};
  if (Object.keys(fields).length === 0 || !showErrors(fields)) complain(what, error);
}

function said({ message, restart_needed: restart }) {
  const action = restart
    ? h("button", { type: "button", onclick: restartEngines }, "Restart the engines now")
    : null;
  notify(message, { kind: "good", action, stays: restart });
}

async function restartEngines({ target }) {
  target.disabled = true;
  target.textContent = "Restarting";
  try {
    const { message } = await (await call("POST", "/config/restart")).json();
    target.closest(".notice").remove();
    notify(message, { kind: "good" });
  } catch (error) {
    target.closest(".notice").remove();
    complain("The engines did not start", error);
  }
}

function search(query) {
  const words = query.toLowerCase().split(/\s+/);
  for (const { option, row } of all) {
    const text = `${option.path.replaceAll("_", " ")} ${option.schema.description}`.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  }
  for (const group of $$("#settings-fields fieldset")) {
    group.hidden = !$(".setting:not([hidden])", group);
  }
}

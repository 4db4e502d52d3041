/** The settings' JSON Schema as fields of a form. */

import { h } from "../dom.js";

/**
 * One option of the settings.
 *
 * @typedef {{path: string, group: string, schema: any, nullable: boolean, restart: boolean, locked: boolean}} Option
 */

const HIDDEN = new Set(["ui_state"]); // what the page itself remembers

// What is changed most comes first.
const FIRST = [
  "conversation",
  "pause_detection",
  "generation_defaults",
  "audio_output",
  "stt_engine",
  "tts_engine",
  "model",
  "limits",
  "ui",
];

/** @param {any} schema - of all settings @returns {Option[]} */
export function options(schema) {
  const resolved = (node) => {
    const name = node.$ref?.split("/").at(-1);
    return name ? { ...schema.$defs[name], ...node } : node;
  };
  const walk = (node, path, restart) =>
    Object.entries(node.properties ?? {}).flatMap(([key, child]) => {
      const value = resolved(child);
      const here = path ? `${path}.${key}` : key;
      const counts = value.restart ?? restart;
      if (value.properties && value.$ref) return walk(value, here, counts);
      return [option(here, value, counts)];
    });
  const place = ({ group }) => (FIRST.includes(group) ? FIRST.indexOf(group) : FIRST.length);
  return walk(schema, "", false)
    .filter(({ group }) => !HIDDEN.has(group))
    .sort((a, b) => place(a) - place(b));
}

function option(path, node, restart) {
  const kinds = node.anyOf ?? [node];
  const kind = kinds.find(({ type }) => type !== "null") ?? {};
  return {
    path,
    group: path.split(".")[0],
    schema: { ...node, ...kind },
    nullable: kinds.some(({ type }) => type === "null"),
    restart: restart === true,
    locked: node.readOnly === true,
  };
}

/** `end_of_turn` for people. @param {string} key */
export function words(key) {
  const text = key.replaceAll("_", " ");
  return (text[0].toUpperCase() + text.slice(1)).replace(/\b(stt|tts|ui|cors|cfg|mb|kb)\b/gi, (x) =>
    x.toUpperCase(),
  );
}

/** @param {Option} option */
export const title = ({ path }) => path.split(".").slice(1).map(words).join(" › ") || words(path);

/** The value of an option in a tree. @param {any} tree @param {string} path */
export const at = (tree, path) => path.split(".").reduce((node, key) => node?.[key], tree);

/**
 * A field, what it holds, and how to put something into it.
 *
 * @typedef {{element: HTMLElement, read: () => unknown, write: (value: unknown) => void}} Field
 */

/** @param {Option} option @returns {Field} */
export function field(option) {
  const { schema } = option;
  if (schema.writeOnly) return secret();
  if (schema.enum) return choice(option);
  if (schema.type === "boolean") return tick();
  if (schema.type === "number" || schema.type === "integer") return number(option);
  if (schema.type === "string") return text(option);
  if (schema.type === "array" && schema.items?.type === "string") return list(option);
  return json();
}

const none = ({ nullable }) => (nullable ? "none" : "");

function tick() {
  const element = h("input", { type: "checkbox" });
  return { element, read: () => element.checked, write: (value) => (element.checked = value === true) };
}

function choice({ schema, nullable }) {
  const values = nullable ? ["", ...schema.enum] : schema.enum;
  const element = h("select", {}, ...values.map((value) => h("option", { value }, value || "none")));
  return { element, read: () => element.value || null, write: (value) => (element.value = value ?? "") };
}

function number(option) {
  const { minimum: min, maximum: max, type } = option.schema;
  const step = type === "integer" ? 1 : "any";
  const element = h("input", { type: "number", min, max, step, placeholder: none(option), required: !option.nullable });
  return {
    element,
    read: () => (element.value === "" ? null : Number(element.value)),
    write: (value) => (element.value = value ?? ""),
  };
}

function text(option) {
  const { maxLength, minLength } = option.schema;
  const element = h("input", {
    type: "text",
    maxlength: maxLength,
    required: minLength > 0,
    placeholder: none(option),
    spellcheck: "false",
  });
  return {
    element,
    read: () => (element.value === "" && option.nullable ? null : element.value),
    write: (value) => (element.value = value ?? ""),
  };
}

function secret() {
  const element = h("input", { type: "password", placeholder: "as it is", autocomplete: "new-password" });
  return { element, read: () => element.value || undefined, write: () => (element.value = "") };
}

function list(option) {
  const placeholder = option.nullable ? "the usual" : "none";
  const element = h("input", { type: "text", placeholder, spellcheck: "false" });
  return {
    element,
    read() {
      const items = element.value.split(",").map((item) => item.trim()).filter(Boolean);
      return items.length === 0 && option.nullable ? null : items;
    },
    write: (value) => (element.value = (value ?? []).join(", ")),
  };
}

function json() {
  const element = h("textarea", { rows: 2, spellcheck: "false" });
  return {
    element,
    read() {
      element.setCustomValidity("");
      try {
        return JSON.parse(element.value);
      } catch {
        element.setCustomValidity("This is no JSON.");
        return undefined;
      }
    },
    write: (value) => (element.value = JSON.stringify(value ?? null)),
  };
}

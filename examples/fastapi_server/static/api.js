/** Requests to the server, and its errors in words for people. */

import { token } from "./token.js";

/** What went wrong, as the server says it. */
export class ServerProblem extends Error {
  /**
   * @param {string} message - for the user
   * @param {number} status - of HTTP; 0 if there was no answer
   * @param {string | null} requestId - stands in the server's log
   * @param {Record<string, string>} fields - what of the request is wrong, by its name or path
   */
  constructor(message, status = 0, requestId = null, fields = {}) {
    super(message);
    this.status = status;
    this.requestId = requestId;
    this.fields = fields;
  }

  /** Whether a token could help. */
  get needsToken() {
    return this.status === 401 || this.status === 403;
  }
}

const NO_ANSWER = "The server does not answer. It may have been stopped, or the network is down.";

/** @param {number} status @param {string} text @param {string | null} requestId */
export function problemOf(status, text, requestId) {
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // no JSON: what the status says has to do
  }
  const id = requestId ?? body?.request_id ?? null;
  const detail = body?.detail;
  if (typeof detail === "object" && detail !== null) {
    const fields = Array.isArray(detail)
      ? Object.fromEntries(detail.map(({ loc = [], msg = "" }) => [loc.at(-1) ?? "", msg]))
      : detail;
    const words = Object.entries(fields).map(([name, words]) => (name ? `${name}: ${words}` : words));
    return new ServerProblem(words.join("; "), status, id, fields);
  }
  if (typeof detail === "string") return new ServerProblem(sentence(detail), status, id);
  return new ServerProblem(`The server answered with the status ${status}.`, status, id);
}

/** As it is read by people: programs print errors without capitals and full stops. */
function sentence(words) {
  const text = words.trim();
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

function headers(more = {}) {
  return token() === null ? more : { ...more, Authorization: `Bearer ${token()}` };
}

/**
 * @param {string} method
 * @param {string} path
 * @param {{json?: unknown, form?: FormData, signal?: AbortSignal}} [options]
 * @returns {Promise<Response>} a good one
 * @throws {ServerProblem}
 */
export async function call(method, path, { json, form, signal } = {}) {
  let response;
  try {
    response = await fetch(path, {
      method,
      signal,
      headers: headers(json === undefined ? {} : { "Content-Type": "application/json" }),
      body: json === undefined ? form : JSON.stringify(json),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerProblem(NO_ANSWER);
  }
  if (response.ok) return response;
  throw problemOf(response.status, await response.text(), response.headers.get("X-Request-ID"));
}

/** @param {string} path @param {AbortSignal} [signal] */
export const get = async (path, signal) => (await call("GET", path, { signal })).json();

/**
 * Send a form, and read the answer as it comes.
 *
 * @param {string} path
 * @param {FormData} form
 * @param {{onSent?: (share: number) => void, onText?: (text: string) => void, signal?: AbortSignal}} [options] -
 *   `onText` is given the text that is new
 * @returns {Promise<string>} all of the answer
 * @throws {ServerProblem}
 */
export function upload(path, form, { onSent = () => {}, onText = () => {}, signal } = {}) {
  // `fetch` cannot tell how much of a request is sent; this can, and streams the answer too.
  const request = new XMLHttpRequest();
  let read = 0;
  const more = () => {
    if (request.status !== 200) return;
    const fresh = request.responseText.slice(read);
    read += fresh.length;
    if (fresh) onText(fresh);
  };
  return new Promise((resolve, reject) => {
    request.open("POST", path);
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded, total }) => onSent(total ? loaded / total : 0);
    request.upload.onload = () => onSent(1);
    request.onprogress = more;
    request.onerror = () => reject(new ServerProblem(NO_ANSWER));
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    request.onload = () => {
      more();
      if (request.status < 300) resolve(request.responseText);
      else {
        const id = request.getResponseHeader("X-Request-ID");
        reject(problemOf(request.status, request.responseText, id));
      }
    };
    signal?.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

let initial = null;

/** What the page needs to know of the server; {} where it does not say. @returns {Promise<any>} */
export async function initialData() {
  initial ??= get("/api/ui/initial-data").catch(() => {
    initial = null;
    return {};
  });
  return initial;
}

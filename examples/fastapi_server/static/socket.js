/**
 * The conversation's connection: JSON messages both ways, and sound as binary ones.
 *
 * A lost connection is made anew, sooner at first than later on, and at another moment by each
 * page, so that a server that comes back is not run down by all of them at once.
 */

import { ServerProblem, call } from "./api.js";

const PATH = "/ws/conversation/v2";
const MOST_TRIES = 5;
const FIRST_WAIT = 500; // ms, doubled at each try
const PING_EVERY = 5000; // ms
const DEAD_AFTER = 20_000; // ms without any message
const MOST_WAITING = 64_000; // bytes: 2 s of sound that the network has not taken

const LOST = "The connection was lost.";
const NOT_TAKEN = "The server does not take the call: it may be full, or not ready.";

/** @typedef {"connecting" | "open" | "waiting" | "closed"} State */

const REASONS = {
  1001: "The server is going away.",
  1003: "The server cannot understand what this page sends.",
  1008: "The server has ended the conversation.",
  1009: "A message was too long for the server.",
  1011: "Something in the server failed.",
  1013: "The server is too busy. Try again in a while.",
};

export class ConversationSocket {
  /** Seconds that a message takes there and back, at best, lately; null if not known. */
  roundTrip = null;
  /** Seconds of sound that were not sent, since the network took no more. */
  lost = 0;
  #socket = null;
  #tries = 0;
  #wanted = false;
  #timers = new Set();
  #pinged = 0;
  #heard = 0;
  #opened = false;

  /**
   * @param {{
   *   onState: (state: State, detail: {seconds?: number, reason?: string, problem?: ServerProblem}) => void,
   *   onMessage: (message: any) => void,
   *   onSound: (bytes: Uint8Array) => void,
   * }} listeners
   */
  constructor({ onState, onMessage, onSound }) {
    this.onState = onState;
    this.onMessage = onMessage;
    this.onSound = onSound;
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  open() {
    this.#wanted = true;
    this.#tries = 0;
    this.#connect();
  }

  /** End the conversation. */
  close() {
    this.#wanted = false;
    this.#forgetTimers();
    if (this.isOpen) this.send({ action: "stop" });
    this.#socket?.close(1000);
    this.#socket = null;
  }

  /** @param {object} command */
  send(command) {
    if (this.isOpen) this.#socket.send(JSON.stringify(command));
  }

  /** @param {ArrayBuffer} frame - of 16-bit PCM at 16 kHz */
  sendSound(frame) {
    if (!this.isOpen) return;
    if (this.#socket.bufferedAmount > MOST_WAITING) this.lost += frame.byteLength / 32_000;
    else this.#socket.send(frame);
  }

  async #connect() {
    this.#opened = false;
    this.onState("connecting", {});
    let ticket;
    try {
      ({ ticket } = await (await call("POST", "/api/tickets")).json());
    } catch (problem) {
      this.#failed(problem);
      return;
    }
    if (!this.#wanted) return;
    const address = new URL(PATH, location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    address.search = new URLSearchParams({ audio: "stream", ticket }).toString();
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.onopen = () => this.#onOpen();
    socket.onmessage = ({ data }) => socket === this.#socket && this.#on(data);
    socket.onclose = ({ code, reason }) => socket === this.#socket && this.#closed(code, reason);
  }

  #onOpen() {
    this.#opened = true;
    this.#heard = performance.now();
    this.#every(PING_EVERY, () => {
      if (performance.now() - this.#heard > DEAD_AFTER) this.#lostTouch();
      else this.#ping();
    });
    this.#ping();
    this.onState("open", {});
  }

  #ping() {
    this.#pinged = performance.now();
    this.send({ action: "ping" });
  }

  #on(data) {
    this.#heard = performance.now();
    if (typeof data !== "string") {
      this.onSound(new Uint8Array(data));
      return;
    }
    const message = JSON.parse(data);
    if (message.type === "ready") this.#tries = 0;
    if (message.type === "pong") this.#measure();
    this.onMessage(message);
  }

  #measure() {
    const took = (performance.now() - this.#pinged) / 1000;
    // A message may wait behind others: the shorter times are the network's own.
    this.roundTrip = Math.min(took, this.roundTrip === null ? took : this.roundTrip * 1.1);
  }

  #lostTouch() {
    const socket = this.#socket;
    this.#closed(1006, "");
    socket.close();
  }

  #closed(code, reason) {
    this.#socket = null;
    this.#forgetTimers();
    const words = reason ? `${REASONS[code] ?? "The server has closed it."} (${reason})` : REASONS[code];
    if (!this.#wanted) return;
    if (code === 1000 || code === 1008) this.#giveUp({ reason: words ?? "" });
    else this.#retry({ reason: words ?? (this.#opened ? LOST : NOT_TAKEN) });
  }

  #failed(problem) {
    if (!this.#wanted) return;
    const status = problem.status ?? 0;
    const hopeless = status >= 400 && status < 500 && status !== 429 && status !== 408;
    if (hopeless) this.#giveUp({ reason: problem.message, problem });
    else this.#retry({ reason: problem.message, problem });
  }

  #retry(detail) {
    this.#tries++;
    if (this.#tries > MOST_TRIES) {
      this.#giveUp(detail);
      return;
    }
    const wait = FIRST_WAIT * 2 ** (this.#tries - 1) * (0.5 + Math.random());
    this.onState("waiting", { ...detail, seconds: wait / 1000 });
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#connect();
    }, wait);
    this.#timers.add(timer);
  }

  #giveUp(detail) {
    this.#wanted = false;
    this.onState("closed", detail);
  }

  #every(ms, action) {
    this.#timers.add(setInterval(action, ms));
  }

  #forgetTimers() {
    for (const timer of this.#timers) {
      clearTimeout(timer);
      clearInterval(timer);
    }
    this.#timers.clear();
  }
}

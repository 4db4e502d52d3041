/** Talk: a conversation by voice. */

import { Capture, MicrophoneError, RATE } from "../audio/capture.js";
import { audioContext } from "../audio/context.js";
import { Player } from "../audio/player.js";
import { $, announce, seconds } from "../dom.js";
import { LatencyPanel, stagesOf } from "../latency.js";
import { complain, notify } from "../notices.js";
import { ConversationSocket } from "../socket.js";
import { askForToken } from "../token.js";
import { Transcript } from "../transcript.js";
import { PushToTalk } from "./push-to-talk.js";

const STATES = {
  off: "Not connected",
  connecting: "Connecting",
  listening: "Listening",
  processing: "Thinking",
  speaking: "Speaking",
  error: "The turn failed",
};

let transcript;
let latencies;
let pushToTalk;
let running = false;
let muted = false;
let level = 0; // of the microphone
let shown = false;
let dropping = false; // what is still on its way of an answer that the user has stopped
let wakeLock = null;

const player = new Player(() => {
  setInterruptible();
});
const capture = new Capture(onFrame, onMicrophoneLost);
const socket = new ConversationSocket({ onState, onMessage, onSound });

export const talk = {
  start() {
    transcript = new Transcript($("#transcript"));
    latencies = new LatencyPanel(
      $("#latency-last"),
      $("#latency-median"),
      $("#latency-chart"),
      $("#latency-legend"),
    );
    pushToTalk = new PushToTalk(
      () => socket.send({ action: "begin_turn" }),
      () => socket.send({ action: "commit" }),
    );
    $("#talk-button").addEventListener("click", () => (running ? end() : begin()));
    $("#interrupt-button").addEventListener("click", interrupt);
    $("#mute-button").addEventListener("click", () => mute(!muted));
    $("#reset-button").addEventListener("click", () => socket.send({ action: "reset" }));
    addEventListener("keydown", onKey);
    addEventListener("pagehide", () => running && end());
    document.addEventListener("visibilitychange", onVisible);
  },
  show() {
    shown = true;
    requestAnimationFrame(drawLevels);
  },
  hide() {
    shown = false;
  },
};

// -- beginning and ending

async function begin() {
  running = true;
  setRunning();
  setState("connecting");
  showProblem(null);
  try {
    await player.open();
    await capture.open();
  } catch (error) {
    end();
    if (error instanceof MicrophoneError) showProblem(error);
    else complain("The sound could not be started", error);
    return;
  }
  if (!running) {
    capture.close(); // ended meanwhile
    return;
  }
  fact("microphone", `${capture.label || "open"}, ${RATE / 1000} kHz`);
  socket.open();
  keepAwake();
}

function end() {
  running = false;
  socket.close();
  capture.close();
  player.flush();
  pushToTalk.reset();
  wakeLock?.release().catch(() => {});
  wakeLock = null;
  level = 0;
  mute(false);
  setRunning();
  setState("off");
}

function setRunning() {
  const button = $("#talk-button");
  button.setAttribute("aria-pressed", String(running));
  $(".visually-hidden", button).textContent = running ? "End the conversation" : "Start talking";
  $("use", button).setAttribute("href", running ? "#icon-stop" : "#icon-talk");
  if (!running) setConnected(false);
  $("#talk-empty").hidden = running || !transcript.isEmpty || !$("#talk-problem").hidden;
}

function setConnected(connected) {
  $("#mute-button").disabled = !connected;
  $("#reset-button").disabled = !connected;
  pushToTalk.connected = connected;
  setInterruptible();
}

async function keepAwake() {
  try {
    wakeLock = await navigator.wakeLock?.request("screen");
  } catch {
    // a convenience: the screen may go dark then
  }
}

function onVisible() {
  if (document.hidden || !running) return;
  audioContext().catch(() => {}); // phones stop the sound of hidden pages
  keepAwake();
}

// -- what the microphone says

function onFrame(frame) {
  const samples = new Int16Array(frame);
  const power = samples.reduce((sum, x) => sum + x * x, 0) / samples.length;
  level = Math.sqrt(power) / 32768;
  // The server's clock is the sound that it gets: what is not to be heard is silence.
  socket.sendSound(muted || pushToTalk.silences ? new ArrayBuffer(frame.byteLength) : frame);
}

async function onMicrophoneLost() {
  try {
    await capture.open(); // another one, if there is any
    transcript.event(`The microphone is now ${capture.label || "another one"}.`);
  } catch (error) {
    end();
    showProblem(error);
  }
}

function showProblem(error) {
  const box = $("#talk-problem");
  box.hidden = error === null;
  setRunning();
  if (error === null) return;
  $("h2", box).textContent = error.message;
  $("p", box).textContent = error.advice;
  if (!transcript.isEmpty) transcript.event(`${error.message}. ${error.advice}`, true);
  box.hidden = !transcript.isEmpty;
}

// -- what the server says

function onState(state, { seconds: wait, reason, problem }) {
  if (state === "connecting") setState("connecting");
  if (state === "waiting") {
    setConnected(false);
    player.flush();
    transcript.broken();
    setState("waiting", `${reason} Trying again in ${seconds(wait)}`);
  }
  if (state === "closed") {
    end();
    if (problem?.needsToken) askForToken("This server asks for a token before it talks.");
    notify("The conversation has ended", { detail: reason, requestId: problem?.requestId });
  }
}

const MESSAGES = {
  ready() {
    dropping = false;
    setConnected(true);
    setState("listening");
  },
  state_update: ({ state }) => setState(state),
  transcription: (message) => transcript.heard(message),
  response_text: ({ text }) => transcript.says(text),
  audio_start({ sample_rate: rate }) {
    dropping = false;
    player.begin(rate);
  },
  interrupted({ heard }) {
    dropping = false;
    player.flush();
    transcript.interrupted(heard);
  },
  reply_paused: () => player.flush(),
  turn_ended(message) {
    dropping = false;
    player.end();
    const stages = stagesOf(message.metrics, socket.roundTrip, player.latency);
    transcript.ended(message, stages);
    if (stages.length > 0) latencies.add(stages);
  },
  user_idle: () => transcript.event("Still there? Just go on when you like."),
  reset_complete() {
    player.flush();
    transcript.clear();
    latencies.clear();
    announce("The conversation begins anew");
  },
  pong: () => fact("roundTrip", `${Math.round(socket.roundTrip * 1000)} ms`),
  error({ message, request_id: requestId }) {
    player.flush();
    if (requestId) transcript.failed("No answer came.");
    notify("The server could not do that", { detail: message, requestId });
  },
};

function onSound(bytes) {
  if (!dropping) player.push(bytes);
}

function onMessage(message) {
  MESSAGES[message.type]?.(message);
}

let state = "off";

function setState(name, words = STATES[name] ?? name) {
  state = name;
  const element = $("#talk-state");
  if (element.textContent !== words) element.textContent = words;
  element.dataset.state = name;
  setInterruptible();
}

// -- what the user does

function setInterruptible() {
  const speaking = state === "processing" || state === "speaking" || player.progress.playing;
  $("#interrupt-button").disabled = !socket.isOpen || !speaking;
}

function interrupt() {
  dropping = true;
  player.flush(); // silent at once, before the server knows
  socket.send({ action: "interrupt" });
}

function mute(on) {
  muted = on;
  const button = $("#mute-button");
  button.setAttribute("aria-pressed", String(on));
  button.textContent = on ? "Muted" : "Mute";
}

function onKey(event) {
  if (shown && event.key === "Escape" && !$("#interrupt-button").disabled) interrupt();
}

// -- what it looks like

/** Decibels below full scale, as a share of what can be seen: -60 to 0. */
function visible(rms) {
  const decibels = 20 * Math.log10(Math.max(rms, 1e-3));
  return { decibels: Math.round(decibels), share: (decibels + 60) / 60 };
}

function drawLevel(meter, rms) {
  const { decibels, share } = visible(rms);
  meter.firstElementChild.style.setProperty("--level", share.toFixed(3));
  meter.setAttribute("aria-valuenow", decibels);
  return share;
}

let drawn = 0;

function drawLevels(now) {
  if (!shown) return;
  requestAnimationFrame(drawLevels);
  if (now - drawn < 50) return;
  drawn = now;
  const share = drawLevel($("#meter-you"), muted || pushToTalk.silences ? 0 : level);
  drawLevel($("#meter-answer"), player.level);
  $("#talk-button").style.setProperty("--level", share.toFixed(3));
  const { waiting, played, underruns } = player.progress;
  fact("waiting", `${Math.round(waiting * 1000)} ms`);
  fact("played", seconds(played));
  fact("underruns", String(underruns));
  fact("lost", seconds(socket.lost));
}

function fact(name, value) {
  const element = $(`[data-fact=${name}]`);
  if (element.textContent !== value) element.textContent = value;
}

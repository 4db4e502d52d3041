/** The microphone. */

import { audioContext } from "./context.js";

/** Samples a second that the server hears. */
export const RATE = 16000;

const WANTED = {
  channelCount: 1,
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: true,
};

/** Why there is no microphone, and what to do about it, in a person's words. */
export class MicrophoneError extends Error {
  /** @param {string} title @param {string} advice */
  constructor(title, advice) {
    super(title);
    this.advice = advice;
  }
}

const REASONS = {
  NotAllowedError: [
    "The microphone is blocked",
    "Allow it in the address bar (the lock or camera sign) or in the system's privacy settings, then press again.",
  ],
  NotFoundError: ["No microphone was found", "Plug one in or switch one on, then press again."],
  NotReadableError: [
    "The microphone does not answer",
    "Another program may be using it. Close that, or choose another microphone in the system's settings.",
  ],
};

function reason(error) {
  const [title, advice] = REASONS[error.name] ?? [
    "The microphone cannot be used",
    `The browser says: ${error.message || error.name}.`,
  ];
  return new MicrophoneError(title, advice);
}

/** Say so early if there can be no microphone on this page at all. */
export function microphoneProblem() {
  if (!window.isSecureContext) {
    return new MicrophoneError(
      "Browsers give the microphone to safe addresses only",
      `Open this page by https, or on the server's own machine as http://localhost:${location.port || 80}.`,
    );
  }
  if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) {
    return new MicrophoneError(
      "This browser cannot record",
      "A current Chrome, Edge, Firefox or Safari can.",
    );
  }
  return null;
}

export class Capture {
  #stream = null;
  #nodes = [];

  /**
   * @param {(frame: ArrayBuffer) => void} onFrame - 20 ms of 16-bit PCM at `RATE`
   * @param {() => void} onLost - the microphone went away
   */
  constructor(onFrame, onLost) {
    this.onFrame = onFrame;
    this.onLost = onLost;
  }

  /** What the microphone is called; "" before it is open. */
  get label() {
    return this.#stream?.getAudioTracks()[0]?.label ?? "";
  }

  /** @throws {MicrophoneError} */
  async open() {
    const problem = microphoneProblem();
    if (problem) throw problem;
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ audio: WANTED });
    } catch (error) {
      throw reason(error);
    }
    try {
      await this.#connect();
    } catch (error) {
      this.close();
      throw reason(error);
    }
  }

  async #connect() {
    const context = await audioContext();
    if (this.#stream === null) return; // closed meanwhile
    const source = context.createMediaStreamSource(this.#stream);
    const worklet = new AudioWorkletNode(context, "capture", {
      outputChannelCount: [1],
      processorOptions: { rate: RATE },
    });
    worklet.port.onmessage = ({ data }) => this.onFrame(data);
    // It says nothing; but some browsers run only what leads to the loudspeaker.
    source.connect(worklet).connect(context.destination);
    this.#nodes = [source, worklet];
    this.#stream.getAudioTracks()[0].addEventListener("ended", () => {
      this.close();
      this.onLost();
    });
  }

  close() {
    for (const node of this.#nodes) {
      node.port?.postMessage("close");
      if (node.port) node.port.onmessage = null;
      node.disconnect();
    }
    this.#nodes = [];
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = null;
  }
}

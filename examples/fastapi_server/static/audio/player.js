/** The loudspeaker: plays 16-bit PCM of any rate as it arrives. */

import { audioContext } from "./context.js";

/** How far playing is. @typedef {{played: number, waiting: number, dropped: number, start: number, underruns: number, playing: boolean}} Progress */

export class Player {
  /** @type {Progress} seconds, but for `underruns` */
  progress = { played: 0, waiting: 0, dropped: 0, start: 0, underruns: 0, playing: false };
  #node = null;
  #analyser = null;
  #samples = null;
  #left = new Uint8Array(0);

  /** @param {(progress: Progress) => void} onProgress */
  constructor(onProgress = () => {}) {
    this.onProgress = onProgress;
  }

  /** Call this while handling what the user did: browsers let nothing sound before. */
  async open() {
    const context = await audioContext();
    if (this.#node) return;
    this.#node = new AudioWorkletNode(context, "player", {
      numberOfInputs: 0,
      outputChannelCount: [1],
    });
    this.#node.port.onmessage = ({ data }) => {
      this.progress = data;
      this.onProgress(data);
    };
    this.#analyser = new AnalyserNode(context, { fftSize: 1024 });
    this.#samples = new Float32Array(1024);
    this.#node.connect(this.#analyser).connect(context.destination);
  }

  /** Seconds from handing over a sound until it is heard, as far as the browser knows. */
  get latency() {
    const { baseLatency = 0, outputLatency = 0 } = this.#node?.context ?? {};
    return this.progress.start + baseLatency + outputLatency;
  }

  /** The level that sounds now, 0 to 1: root mean square over 20 ms. */
  get level() {
    if (!this.#analyser) return 0;
    this.#analyser.getFloatTimeDomainData(this.#samples);
    return Math.sqrt(this.#samples.reduce((sum, x) => sum + x * x, 0) / this.#samples.length);
  }

  /** What follows has that many samples a second. */
  begin(rate) {
    this.#left = new Uint8Array(0);
    this.#node?.port.postMessage({ type: "begin", rate });
  }

  /** @param {Uint8Array} bytes - of 16-bit little-endian PCM; a sample may be cut between two */
  push(bytes) {
    const all = new Uint8Array(this.#left.length + bytes.length);
    all.set(this.#left);
    all.set(bytes, this.#left.length);
    const whole = all.length & ~1;
    this.#left = all.slice(whole);
    const samples = new Int16Array(all.buffer.slice(0, whole));
    this.#node?.port.postMessage({ type: "push", samples }, [samples.buffer]);
  }

  /** No more comes. */
  end() {
    this.#node?.port.postMessage({ type: "end" });
  }

  /** Be silent now, and forget what has not been played. */
  flush() {
    this.#left = new Uint8Array(0);
    this.#node?.port.postMessage({ type: "flush" });
  }

  close() {
    this.#node?.port.postMessage({ type: "close" });
    this.#node?.disconnect();
    this.#analyser?.disconnect();
    if (this.#node) this.#node.port.onmessage = null;
    this.#node = null;
    this.#analyser = null;
  }
}

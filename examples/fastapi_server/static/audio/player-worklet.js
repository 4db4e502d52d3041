/** Plays sound as it arrives, and tells how it goes some times a second. */

import { JitterBuffer } from "./jitter-buffer.js";
import { Resampler } from "./resampler.js";

const TELL_EVERY = 0.05; // s

class Player extends AudioWorkletProcessor {
  constructor() {
    super();
    this.buffer = new JitterBuffer(sampleRate);
    this.resampler = new Resampler(sampleRate, sampleRate);
    this.untold = 0;
    this.wasPlaying = false;
    this.open = true;
    this.port.onmessage = ({ data }) => this.#on(data);
  }

  process(_, [[left, ...others]]) {
    this.buffer.pull(left);
    for (const other of others) other.set(left);
    this.untold += left.length;
    const changed = this.buffer.playing !== this.wasPlaying;
    if (changed || this.untold >= TELL_EVERY * sampleRate) this.#tell();
    return this.open;
  }

  #on({ type, rate, samples }) {
    if (type === "begin") {
      this.buffer.begin();
      this.resampler = new Resampler(rate, sampleRate);
    }
    if (type === "push") this.buffer.push(this.resampler.process(floats(samples)));
    if (type === "end") {
      this.buffer.end(this.resampler.process(new Float32Array(this.resampler.half)));
    }
    if (type === "close") this.open = false;
    if (type === "flush") {
      this.buffer.flush();
      this.resampler.reset();
    }
    this.#tell();
  }

  #tell() {
    const { played, underruns, dropped, playing, length, start } = this.buffer;
    this.untold = 0;
    this.wasPlaying = playing;
    this.port.postMessage({
      played: played / sampleRate,
      waiting: length / sampleRate,
      dropped: dropped / sampleRate,
      start,
      underruns,
      playing,
    });
  }
}

function floats(samples) {
  const result = new Float32Array(samples.length);
  for (let n = 0; n < samples.length; n++) result[n] = samples[n] / 32768;
  return result;
}

registerProcessor("player", Player);

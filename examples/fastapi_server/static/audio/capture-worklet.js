/** The microphone, as frames of 20 ms in 16-bit PCM at the rate that the server hears. */

import { Resampler } from "./resampler.js";

const FRAME_SECONDS = 0.02;

class Capture extends AudioWorkletProcessor {
  constructor(options) {
    super();
    const { rate } = options.processorOptions;
    this.resampler = new Resampler(sampleRate, rate);
    this.frame = new Int16Array(Math.round(rate * FRAME_SECONDS));
    this.filled = 0;
    this.open = true;
    this.port.onmessage = () => (this.open = false);
  }

  process([input]) {
    if (input.length > 0) this.#take(this.resampler.process(mono(input)));
    return this.open;
  }

  #take(samples) {
    for (const sample of samples) {
      this.frame[this.filled++] = Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
      if (this.filled === this.frame.length) this.#send();
    }
  }

  #send() {
    this.port.postMessage(this.frame.buffer, [this.frame.buffer]);
    this.frame = new Int16Array(this.filled);
    this.filled = 0;
  }
}

function mono(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, n) => channels.reduce((sum, each) => sum + each[n], 0) / channels.length);
}

registerProcessor("capture", Capture);

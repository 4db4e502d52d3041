/**
 * Changes the sample rate of a stream of sound.
 *
 * Each output sample is a sum of input samples under a windowed sinc (Smith, "Digital Audio
 * Resampling", https://ccrma.stanford.edu/~jos/resample/). The filters for all positions
 * between two samples are made beforehand. What comes in blocks comes out as it would in one
 * piece. The delay is `ZERO_CROSSINGS` samples of the lower rate: 2 ms at 16 kHz.
 */

const ZERO_CROSSINGS = 32; // on each side
const BETA = 8; // of the Kaiser window: 80 dB
const PASSBAND = 0.92; // the middle of the slope, of half the lower rate: it ends below 1
const MAX_PHASES = 2048;

/** The modified Bessel function of the first kind, of order 0. */
function bessel(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > sum * 1e-12; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

const gcd = (a, b) => (b === 0 ? a : gcd(b, a % b));

export class Resampler {
  /**
   * @param {number} from - samples a second that come in
   * @param {number} to - samples a second that go out
   */
  constructor(from, to) {
    const divisor = gcd(from, to);
    this.step = from / divisor; // of the position, in 1/phases of an input sample
    this.phases = to / divisor;
    this.same = from === to;
    const scale = Math.min(1, to / from);
    this.half = Math.ceil(ZERO_CROSSINGS / scale);
    this.filters = this.same ? [] : this.#filters(scale);
    this.reset();
  }

  /** Begin a new stream. */
  reset() {
    this.past = new Float32Array(2 * this.half - 1);
    this.position = 0;
  }

  /**
   * @param {Float32Array} samples
   * @returns {Float32Array}
   */
  process(samples) {
    if (this.same) return samples;
    const input = new Float32Array(this.past.length + samples.length);
    input.set(this.past);
    input.set(samples, this.past.length);
    const end = samples.length * this.phases;
    const output = new Float32Array(Math.max(0, Math.ceil((end - this.position) / this.step)));
    for (let n = 0; n < output.length; n++, this.position += this.step) {
      output[n] = this.#at(input, this.position);
    }
    this.position -= end;
    this.past = input.slice(samples.length);
    return output;
  }

  #at(input, position) {
    const first = Math.floor(position / this.phases);
    const rest = (position % this.phases) / this.phases;
    const filter = this.filters[Math.floor(rest * this.filters.length)];
    let sum = 0;
    for (let k = 0; k < filter.length; k++) sum += filter[k] * input[first + k];
    return sum;
  }

  #filters(scale) {
    const n = Math.min(this.phases, MAX_PHASES);
    return Array.from({ length: n }, (_, phase) => this.#filter(phase / n, scale));
  }

  #filter(offset, scale) {
    const filter = new Float32Array(2 * this.half);
    let sum = 0;
    for (let k = 0; k < filter.length; k++) {
      const distance = k - (this.half - 1) - offset; // input samples from the wanted position
      const x = distance * scale * PASSBAND;
      const inside = 1 - (distance / this.half) ** 2;
      if (inside <= 0) continue;
      const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
      filter[k] = (sinc * bessel(BETA * Math.sqrt(inside))) / bessel(BETA);
      sum += filter[k];
    }
    return filter.map((value) => value / sum); // no phase is louder than another
  }
}

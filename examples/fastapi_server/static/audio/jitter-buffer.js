/**
 * Sound that came over a network, to be played evenly.
 *
 * Playing begins once some sound is there, so that a late packet leaves no gap. When sound
 * comes too late nevertheless, more is waited for from then on. Cuts are faded: no clicks.
 */

const START = 0.08; // s of sound to begin with
const MAX_START = 0.24;
const MORE = 0.04; // s more after each gap
const FADE = 0.003;

export class JitterBuffer {
  /**
   * @param {number} rate - samples a second
   * @param {number} capacity - seconds; what is too much is dropped
   */
  constructor(rate, capacity = 30) {
    this.rate = rate;
    this.ring = new Float32Array(Math.round(rate * capacity));
    this.start = START;
    this.fade = Math.round(rate * FADE);
    this.played = 0; // samples, of all
    this.dropped = 0; // samples, of all
    this.underruns = 0;
    this.read = 0;
    this.#empty();
  }

  /** Samples that wait. */
  get length() {
    return this.waiting;
  }

  /** @param {Float32Array} samples */
  push(samples) {
    if (this.ranDry && samples.length > 0) {
      this.underruns++;
      this.ranDry = false;
      this.start = Math.min(MAX_START, this.start + MORE);
    }
    const fits = Math.min(samples.length, this.ring.length - this.waiting);
    const write = (this.read + this.waiting) % this.ring.length;
    const first = Math.min(fits, this.ring.length - write);
    this.ring.set(samples.subarray(0, first), write);
    this.ring.set(samples.subarray(first, fits), 0);
    this.waiting += fits;
    this.dropped += samples.length - fits;
  }

  /** What comes now is something new: that it did not come before is no gap. */
  begin() {
    this.ending = false;
    this.ranDry = false;
  }

  /** No more sound of this kind comes, but for `rest`: silence after it is no gap. */
  end(rest = new Float32Array(0)) {
    this.ranDry = false;
    if (this.waiting === 0) return;
    this.push(rest);
    this.ending = true;
  }

  /** Drop what waits. The next `pull` fades out. */
  flush() {
    const tail = this.playing ? this.#take(new Float32Array(Math.min(this.fade, this.waiting))) : null;
    this.#empty();
    this.tail = tail;
  }

  /** @param {Float32Array} out - is filled, with silence where there is no sound */
  pull(out) {
    out.fill(0);
    if (this.tail !== null) this.#fadeOut(out, this.tail);
    this.tail = null;
    if (!this.#begins(out.length)) return;
    const sound = out.subarray(0, Math.min(out.length, this.waiting));
    this.#take(sound);
    this.#fadeIn(sound);
    this.played += sound.length;
    if (this.waiting > 0) return;
    if (!this.ending) this.#fadeOut(sound, sound.slice());
    this.ranDry = !this.ending;
    this.playing = false;
    this.ending = false;
  }

  #begins(n) {
    if (this.playing) return true;
    if (this.waiting === 0) return false;
    this.waited += n; // a short sound is not waited with for ever
    this.playing =
      this.ending || Math.max(this.waiting, this.waited) >= this.start * this.rate;
    if (this.playing) {
      this.waited = 0;
      this.faded = 0;
    }
    return this.playing;
  }

  #take(out) {
    const first = Math.min(out.length, this.ring.length - this.read);
    out.set(this.ring.subarray(this.read, this.read + first));
    out.set(this.ring.subarray(0, out.length - first), first);
    this.read = (this.read + out.length) % this.ring.length;
    this.waiting -= out.length;
    return out;
  }

  #fadeIn(sound) {
    for (let n = 0; n < sound.length && this.faded < this.fade; n++, this.faded++) {
      sound[n] *= this.faded / this.fade;
    }
  }

  #fadeOut(out, sound) {
    const n = Math.min(out.length, sound.length);
    const from = sound.length === out.length ? Math.max(0, n - this.fade) : 0;
    for (let k = from; k < n; k++) out[k] = sound[k] * (1 - (k - from) / (n - from));
  }

  #empty() {
    this.waiting = 0;
    this.waited = 0;
    this.faded = 0;
    this.playing = false;
    this.ending = false;
    this.ranDry = false;
    this.tail = null;
  }
}
